
[000h 0000   4]                    Signature : "XSDT"    [Extended System Description Table]
[004h 0004   4]                 Table Length : 0000003C
[008h 0008   1]                     Revision : 01
[009h 0009   1]                     Checksum : D3
[00Ah 0010   6]                       Oem ID : "VIRTMI"
[010h 0016   8]                 Oem Table ID : "VMICRO  "
[018h 0024   4]                 Oem Revision : 00000001
[01Ch 0028   4]              Asl Compiler ID : "VMIC"
[020h 0032   4]        Asl Compiler Revision : 00000001

[024h 0036   8]       ACPI Table Address   0 : 00000000000E01E0
[02Ch 0044   8]       ACPI Table Address   1 : 00000000000E0300
[034h 0052   8]       ACPI Table Address   2 : 00000000000E0380

Raw Table Data: Length 60 (0x3C)

    0000: 58 53 44 54 3C 00 00 00 01 D3 56 49 52 54 4D 49
    0010: 56 4D 49 43 52 4F 20 20 01 00 00 00 56 4D 49 43
    0020: 01 00 00 00 E0 01 0E 00 00 00 00 00 00 03 0E 00
    0030: 00 00 00 00 80 03 0E 00 00 00 00 00
