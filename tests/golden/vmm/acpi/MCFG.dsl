
[000h 0000   4]                    Signature : "MCFG"    [Memory Mapped Configuration table]
[004h 0004   4]                 Table Length : 0000003C
[008h 0008   1]                     Revision : 01
[009h 0009   1]                     Checksum : A2
[00Ah 0010   6]                       Oem ID : "VIRTMI"
[010h 0016   8]                 Oem Table ID : "VMICRO  "
[018h 0024   4]                 Oem Revision : 00000001
[01Ch 0028   4]              Asl Compiler ID : "VMIC"
[020h 0032   4]        Asl Compiler Revision : 00000001

[024h 0036   8]                     Reserved : 0000000000000000

[02Ch 0044   8]                 Base Address : 00000000E8000000
[034h 0052   2]         Segment Group Number : 0000
[036h 0054   1]             Start Bus Number : 00
[037h 0055   1]               End Bus Number : 00
[038h 0056   4]                     Reserved : 00000000

Raw Table Data: Length 60 (0x3C)

    0000: 4D 43 46 47 3C 00 00 00 01 A2 56 49 52 54 4D 49
    0010: 56 4D 49 43 52 4F 20 20 01 00 00 00 56 4D 49 43
    0020: 01 00 00 00 00 00 00 00 00 00 00 00 00 00 00 E8
    0030: 00 00 00 00 00 00 00 00 00 00 00 00
