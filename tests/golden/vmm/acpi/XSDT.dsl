
[000h 0000   4]                    Signature : "XSDT"    [Extended System Description Table]
[004h 0004   4]                 Table Length : 0000003C
[008h 0008   1]                     Revision : 01
[009h 0009   1]                     Checksum : 88
[00Ah 0010   6]                       Oem ID : "VIRTMI"
[010h 0016   8]                 Oem Table ID : "VMICRO  "
[018h 0024   4]                 Oem Revision : 00000001
[01Ch 0028   4]              Asl Compiler ID : "VMIC"
[020h 0032   4]        Asl Compiler Revision : 00000001

[024h 0036   8]       ACPI Table Address   0 : 00000000000E0AF0
[02Ch 0044   8]       ACPI Table Address   1 : 00000000000E0C10
[034h 0052   8]       ACPI Table Address   2 : 00000000000E0C90

Raw Table Data: Length 60 (0x3C)

    0000: 58 53 44 54 3C 00 00 00 01 88 56 49 52 54 4D 49
    0010: 56 4D 49 43 52 4F 20 20 01 00 00 00 56 4D 49 43
    0020: 01 00 00 00 F0 0A 0E 00 00 00 00 00 10 0C 0E 00
    0030: 00 00 00 00 90 0C 0E 00 00 00 00 00
