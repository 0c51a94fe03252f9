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
                If ((Local0 & 0x01))
                {
                    Notify (PWRB, 0x80)
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

