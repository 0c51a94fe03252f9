# A virtual machine without NUMA, firmware UUID or IOMMU.
sys/class/dmi/id/product_uuid: 00000000-0000-0000-0000-000000000000
etc/machine-id: 5f6b2c8e4d1a49a3b0c7d2e1f4a59687
sys/devices/system/cpu/online: 0-1,3
proc/meminfo: MemTotal:        4028440 kB\nMemFree:  1 kB
proc/cpuinfo: vendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 17\nmodel name\t: AMD EPYC\nstepping\t: 1\nmicrocode\t: 0x1000065\n
sys/devices/system/cpu/cpu0/topology/physical_package_id: 0
sys/devices/system/cpu/cpu0/topology/core_id: 0
sys/devices/system/cpu/cpu1/topology/physical_package_id: 0
sys/devices/system/cpu/cpu1/topology/core_id: 1
sys/devices/system/cpu/cpu3/topology/physical_package_id: 0
sys/devices/system/cpu/cpu3/topology/core_id: 3
