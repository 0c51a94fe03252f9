
[000h 0000   4]                    Signature : "APIC"    [Multiple APIC Description Table (MADT)]
[004h 0004   4]                 Table Length : 0000007E
[008h 0008   1]                     Revision : 05
[009h 0009   1]                     Checksum : 0D
[00Ah 0010   6]                       Oem ID : "VIRTMI"
[010h 0016   8]                 Oem Table ID : "VMICRO  "
[018h 0024   4]                 Oem Revision : 00000001
[01Ch 0028   4]              Asl Compiler ID : "VMIC"
[020h 0032   4]        Asl Compiler Revision : 00000001

[024h 0036   4]           Local Apic Address : FEE00000
[028h 0040   4]        Flags (decoded below) : 00000000
                         PC-AT Compatibility : 0

[02Ch 0044   1]                Subtable Type : 01 [I/O APIC]
[02Dh 0045   1]                       Length : 0C
[02Eh 0046   1]                  I/O Apic ID : 00
[02Fh 0047   1]                     Reserved : 00
[030h 0048   4]                      Address : FEC00000
[034h 0052   4]                    Interrupt : 00000000

[038h 0056   1]                Subtable Type : 04 [Local APIC NMI]
[039h 0057   1]                       Length : 06
[03Ah 0058   1]                 Processor ID : FF
[03Bh 0059   2]        Flags (decoded below) : 0000
                                    Polarity : 0
                                Trigger Mode : 0
[03Dh 0061   1]         Interrupt Input LINT : 01

[03Eh 0062   1]                Subtable Type : 00 [Processor Local APIC]
[03Fh 0063   1]                       Length : 08
[040h 0064   1]                 Processor ID : 00
[041h 0065   1]                Local Apic ID : 00
[042h 0066   4]        Flags (decoded below) : 00000001
                           Processor Enabled : 1
                      Runtime Online Capable : 0

[046h 0070   1]                Subtable Type : 00 [Processor Local APIC]
[047h 0071   1]                       Length : 08
[048h 0072   1]                 Processor ID : 01
[049h 0073   1]                Local Apic ID : 01
[04Ah 0074   4]        Flags (decoded below) : 00000001
                           Processor Enabled : 1
                      Runtime Online Capable : 0

[04Eh 0078   1]                Subtable Type : 00 [Processor Local APIC]
[04Fh 0079   1]                       Length : 08
[050h 0080   1]                 Processor ID : 02
[051h 0081   1]                Local Apic ID : 02
[052h 0082   4]        Flags (decoded below) : 00000001
                           Processor Enabled : 1
                      Runtime Online Capable : 0

[056h 0086   1]                Subtable Type : 00 [Processor Local APIC]
[057h 0087   1]                       Length : 08
[058h 0088   1]                 Processor ID : 03
[059h 0089   1]                Local Apic ID : 03
[05Ah 0090   4]        Flags (decoded below) : 00000001
                           Processor Enabled : 1
                      Runtime Online Capable : 0

[05Eh 0094   1]                Subtable Type : 00 [Processor Local APIC]
[05Fh 0095   1]                       Length : 08
[060h 0096   1]                 Processor ID : 04
[061h 0097   1]                Local Apic ID : 04
[062h 0098   4]        Flags (decoded below) : 00000001
                           Processor Enabled : 1
                      Runtime Online Capable : 0

[066h 0102   1]                Subtable Type : 00 [Processor Local APIC]
[067h 0103   1]                       Length : 08
[068h 0104   1]                 Processor ID : 05
[069h 0105   1]                Local Apic ID : 05
[06Ah 0106   4]        Flags (decoded below) : 00000001
                           Processor Enabled : 1
                      Runtime Online Capable : 0

[06Eh 0110   1]                Subtable Type : 00 [Processor Local APIC]
[06Fh 0111   1]                       Length : 08
[070h 0112   1]                 Processor ID : 06
[071h 0113   1]                Local Apic ID : 08
[072h 0114   4]        Flags (decoded below) : 00000001
                           Processor Enabled : 1
                      Runtime Online Capable : 0

[076h 0118   1]                Subtable Type : 00 [Processor Local APIC]
[077h 0119   1]                       Length : 08
[078h 0120   1]                 Processor ID : 07
[079h 0121   1]                Local Apic ID : 09
[07Ah 0122   4]        Flags (decoded below) : 00000001
                           Processor Enabled : 1
                      Runtime Online Capable : 0

Raw Table Data: Length 126 (0x7E)

    0000: 41 50 49 43 7E 00 00 00 05 0D 56 49 52 54 4D 49
    0010: 56 4D 49 43 52 4F 20 20 01 00 00 00 56 4D 49 43
    0020: 01 00 00 00 00 00 E0 FE 00 00 00 00 01 0C 00 00
    0030: 00 00 C0 FE 00 00 00 00 04 06 FF 00 00 01 00 08
    0040: 00 00 01 00 00 00 00 08 01 01 01 00 00 00 00 08
    0050: 02 02 01 00 00 00 00 08 03 03 01 00 00 00 00 08
    0060: 04 04 01 00 00 00 00 08 05 05 01 00 00 00 00 08
    0070: 06 08 01 00 00 00 00 08 07 09 01 00 00 00
