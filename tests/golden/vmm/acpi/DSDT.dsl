DefinitionBlock ("", "DSDT", 2, "VIRTMI", "VMICRO  ", 0x00000001)
{
    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08") /* PCI Express Bus */)
            Name (_CID, EisaId ("PNP0A03") /* PCI Bus */)
            Name (_SEG, Zero)
            Name (_BBN, Zero)
            Name (_UID, Zero)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
                    0x0000,
                    0x0000,
                    0x0000,
                    0x0000,
                    0x0001,
                    ,, )
                IO (Decode16,
                    0x0CF8,
                    0x0CF8,
                    0x01,
                    0x08,
                    )
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                    0x00000000,
                    0xC0000000,
                    0xDFFFFFFF,
                    0x00000000,
                    0x20000000,
                    ,, , AddressRangeMemory, TypeStatic)
            })
            OperationRegion (PCHP, SystemIO, 0x0610, 0x0C)
            Field (PCHP, DWordAcc, NoLock, WriteAsZeros)
            {
                PCUP,   32,
                PCDN,   32,
                PCEJ,   32
            }

            Device (S01)
            {
                Name (_ADR, 0x00010000)
                Name (_SUN, One)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x02
                }
            }

            Device (S02)
            {
                Name (_ADR, 0x00020000)
                Name (_SUN, 0x02)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x04
                }
            }

            Device (S03)
            {
                Name (_ADR, 0x00030000)
                Name (_SUN, 0x03)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x08
                }
            }

            Device (S04)
            {
                Name (_ADR, 0x00040000)
                Name (_SUN, 0x04)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x10
                }
            }

            Device (S05)
            {
                Name (_ADR, 0x00050000)
                Name (_SUN, 0x05)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x20
                }
            }

            Device (S06)
            {
                Name (_ADR, 0x00060000)
                Name (_SUN, 0x06)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x40
                }
            }

            Device (S07)
            {
                Name (_ADR, 0x00070000)
                Name (_SUN, 0x07)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x80
                }
            }

            Device (S08)
            {
                Name (_ADR, 0x00080000)
                Name (_SUN, 0x08)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x0100
                }
            }

            Device (S09)
            {
                Name (_ADR, 0x00090000)
                Name (_SUN, 0x09)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x0200
                }
            }

            Device (S10)
            {
                Name (_ADR, 0x000A0000)
                Name (_SUN, 0x0A)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x0400
                }
            }

            Device (S11)
            {
                Name (_ADR, 0x000B0000)
                Name (_SUN, 0x0B)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x0800
                }
            }

            Device (S12)
            {
                Name (_ADR, 0x000C0000)
                Name (_SUN, 0x0C)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x1000
                }
            }

            Device (S13)
            {
                Name (_ADR, 0x000D0000)
                Name (_SUN, 0x0D)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x2000
                }
            }

            Device (S14)
            {
                Name (_ADR, 0x000E0000)
                Name (_SUN, 0x0E)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x4000
                }
            }

            Device (S15)
            {
                Name (_ADR, 0x000F0000)
                Name (_SUN, 0x0F)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x8000
                }
            }

            Device (S16)
            {
                Name (_ADR, 0x00100000)
                Name (_SUN, 0x10)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x00010000
                }
            }

            Device (S17)
            {
                Name (_ADR, 0x00110000)
                Name (_SUN, 0x11)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x00020000
                }
            }

            Device (S18)
            {
                Name (_ADR, 0x00120000)
                Name (_SUN, 0x12)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x00040000
                }
            }

            Device (S19)
            {
                Name (_ADR, 0x00130000)
                Name (_SUN, 0x13)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x00080000
                }
            }

            Device (S20)
            {
                Name (_ADR, 0x00140000)
                Name (_SUN, 0x14)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x00100000
                }
            }

            Device (S21)
            {
                Name (_ADR, 0x00150000)
                Name (_SUN, 0x15)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x00200000
                }
            }

            Device (S22)
            {
                Name (_ADR, 0x00160000)
                Name (_SUN, 0x16)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x00400000
                }
            }

            Device (S23)
            {
                Name (_ADR, 0x00170000)
                Name (_SUN, 0x17)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x00800000
                }
            }

            Device (S24)
            {
                Name (_ADR, 0x00180000)
                Name (_SUN, 0x18)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x01000000
                }
            }

            Device (S25)
            {
                Name (_ADR, 0x00190000)
                Name (_SUN, 0x19)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x02000000
                }
            }

            Device (S26)
            {
                Name (_ADR, 0x001A0000)
                Name (_SUN, 0x1A)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x04000000
                }
            }

            Device (S27)
            {
                Name (_ADR, 0x001B0000)
                Name (_SUN, 0x1B)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x08000000
                }
            }

            Device (S28)
            {
                Name (_ADR, 0x001C0000)
                Name (_SUN, 0x1C)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x10000000
                }
            }

            Device (S29)
            {
                Name (_ADR, 0x001D0000)
                Name (_SUN, 0x1D)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x20000000
                }
            }

            Device (S30)
            {
                Name (_ADR, 0x001E0000)
                Name (_SUN, 0x1E)
                Method (_EJ0, 1, Serialized)
                {
                    PCEJ = 0x40000000
                }
            }

            Method (PCNT, 0, Serialized)
            {
                Local0 = PCUP /* \_SB_.PCI0.PCUP */
                If ((Local0 & 0x02))
                {
                    Notify (S01, One)
                }

                If ((Local0 & 0x04))
                {
                    Notify (S02, One)
                }

                If ((Local0 & 0x08))
                {
                    Notify (S03, One)
                }

                If ((Local0 & 0x10))
                {
                    Notify (S04, One)
                }

                If ((Local0 & 0x20))
                {
                    Notify (S05, One)
                }

                If ((Local0 & 0x40))
                {
                    Notify (S06, One)
                }

                If ((Local0 & 0x80))
                {
                    Notify (S07, One)
                }

                If ((Local0 & 0x0100))
                {
                    Notify (S08, One)
                }

                If ((Local0 & 0x0200))
                {
                    Notify (S09, One)
                }

                If ((Local0 & 0x0400))
                {
                    Notify (S10, One)
                }

                If ((Local0 & 0x0800))
                {
                    Notify (S11, One)
                }

                If ((Local0 & 0x1000))
                {
                    Notify (S12, One)
                }

                If ((Local0 & 0x2000))
                {
                    Notify (S13, One)
                }

                If ((Local0 & 0x4000))
                {
                    Notify (S14, One)
                }

                If ((Local0 & 0x8000))
                {
                    Notify (S15, One)
                }

                If ((Local0 & 0x00010000))
                {
                    Notify (S16, One)
                }

                If ((Local0 & 0x00020000))
                {
                    Notify (S17, One)
                }

                If ((Local0 & 0x00040000))
                {
                    Notify (S18, One)
                }

                If ((Local0 & 0x00080000))
                {
                    Notify (S19, One)
                }

                If ((Local0 & 0x00100000))
                {
                    Notify (S20, One)
                }

                If ((Local0 & 0x00200000))
                {
                    Notify (S21, One)
                }

                If ((Local0 & 0x00400000))
                {
                    Notify (S22, One)
                }

                If ((Local0 & 0x00800000))
                {
                    Notify (S23, One)
                }

                If ((Local0 & 0x01000000))
                {
                    Notify (S24, One)
                }

                If ((Local0 & 0x02000000))
                {
                    Notify (S25, One)
                }

                If ((Local0 & 0x04000000))
                {
                    Notify (S26, One)
                }

                If ((Local0 & 0x08000000))
                {
                    Notify (S27, One)
                }

                If ((Local0 & 0x10000000))
                {
                    Notify (S28, One)
                }

                If ((Local0 & 0x20000000))
                {
                    Notify (S29, One)
                }

                If ((Local0 & 0x40000000))
                {
                    Notify (S30, One)
                }

                Local0 = PCDN /* \_SB_.PCI0.PCDN */
                If ((Local0 & 0x02))
                {
                    Notify (S01, 0x03)
                }

                If ((Local0 & 0x04))
                {
                    Notify (S02, 0x03)
                }

                If ((Local0 & 0x08))
                {
                    Notify (S03, 0x03)
                }

                If ((Local0 & 0x10))
                {
                    Notify (S04, 0x03)
                }

                If ((Local0 & 0x20))
                {
                    Notify (S05, 0x03)
                }

                If ((Local0 & 0x40))
                {
                    Notify (S06, 0x03)
                }

                If ((Local0 & 0x80))
                {
                    Notify (S07, 0x03)
                }

                If ((Local0 & 0x0100))
                {
                    Notify (S08, 0x03)
                }

                If ((Local0 & 0x0200))
                {
                    Notify (S09, 0x03)
                }

                If ((Local0 & 0x0400))
                {
                    Notify (S10, 0x03)
                }

                If ((Local0 & 0x0800))
                {
                    Notify (S11, 0x03)
                }

                If ((Local0 & 0x1000))
                {
                    Notify (S12, 0x03)
                }

                If ((Local0 & 0x2000))
                {
                    Notify (S13, 0x03)
                }

                If ((Local0 & 0x4000))
                {
                    Notify (S14, 0x03)
                }

                If ((Local0 & 0x8000))
                {
                    Notify (S15, 0x03)
                }

                If ((Local0 & 0x00010000))
                {
                    Notify (S16, 0x03)
                }

                If ((Local0 & 0x00020000))
                {
                    Notify (S17, 0x03)
                }

                If ((Local0 & 0x00040000))
                {
                    Notify (S18, 0x03)
                }

                If ((Local0 & 0x00080000))
                {
                    Notify (S19, 0x03)
                }

                If ((Local0 & 0x00100000))
                {
                    Notify (S20, 0x03)
                }

                If ((Local0 & 0x00200000))
                {
                    Notify (S21, 0x03)
                }

                If ((Local0 & 0x00400000))
                {
                    Notify (S22, 0x03)
                }

                If ((Local0 & 0x00800000))
                {
                    Notify (S23, 0x03)
                }

                If ((Local0 & 0x01000000))
                {
                    Notify (S24, 0x03)
                }

                If ((Local0 & 0x02000000))
                {
                    Notify (S25, 0x03)
                }

                If ((Local0 & 0x04000000))
                {
                    Notify (S26, 0x03)
                }

                If ((Local0 & 0x08000000))
                {
                    Notify (S27, 0x03)
                }

                If ((Local0 & 0x10000000))
                {
                    Notify (S28, 0x03)
                }

                If ((Local0 & 0x20000000))
                {
                    Notify (S29, 0x03)
                }

                If ((Local0 & 0x40000000))
                {
                    Notify (S30, 0x03)
                }
            }
        }

        Device (MBRD)
        {
            Name (_HID, EisaId ("PNP0C02") /* PNP Motherboard Resources */)
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite,
                    0xE8000000,
                    0x00100000,
                    )
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501") /* 16550A-compatible COM Serial Port */)
            Name (_UID, One)
            Name (_DDN, "COM1")
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16,
                    0x03F8,
                    0x03F8,
                    0x01,
                    0x08,
                    )
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )
                {
                    0x00000004,
                }
            })
        }

        Device (RTC0)
        {
            Name (_HID, EisaId ("PNP0B00") /* AT Real-Time Clock */)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16,
                    0x0070,
                    0x0070,
                    0x01,
                    0x02,
                    )
            })
        }

        Device (PWRB)
        {
            Name (_HID, EisaId ("PNP0C0C") /* Power Button Device */)
        }

        Device (GED)
        {
            Name (_HID, "ACPI0013" /* Generic Event Device */)
            Name (_CRS, ResourceTemplate ()
            {
                Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, ,, )
                {
                    0x00000009,
                }
            })
            OperationRegion (EVRG, SystemIO, 0x0603, One)
            Field (EVRG, ByteAcc, NoLock, WriteAsZeros)
            {
                EVNT,   8
            }

            Method (_EVT, 1, Serialized)
            {
                Local0 = EVNT /* \_SB_.GED_.EVNT */
                If ((Local0 & One))
                {
                    Notify (PWRB, 0x80)
                }

                If ((Local0 & 0x02))
                {
                    \_SB.PCI0.PCNT ()
                }
            }
        }
    }

    Name (_S5, Package (0x04)
    {
        0x05,
        Zero,
        Zero,
        Zero
    })
}

