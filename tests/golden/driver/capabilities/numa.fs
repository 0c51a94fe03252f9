# Two sockets with two cores of two threads each, one NUMA node per socket.
sys/class/dmi/id/product_uuid: 4C4C4544-0042-3110-8051-B4C04F4A4D32
etc/machine-id: 00000000000000000000000000000001
sys/kernel/iommu_groups/0/type: DMA
sys/devices/system/cpu/online: 0-7
sys/devices/system/node/online: 0-1
proc/cpuinfo: vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 106\nmodel name\t: Intel(R) Xeon(R) Silver 4310\nstepping\t: 6\nmicrocode\t: 0xd000390\n
sys/devices/system/cpu/cpu0/topology/physical_package_id: 0
sys/devices/system/cpu/cpu0/topology/die_id: 0
sys/devices/system/cpu/cpu0/topology/core_id: 0
sys/devices/system/cpu/cpu0/topology/thread_siblings_list: 0,4
sys/devices/system/cpu/cpu1/topology/physical_package_id: 0
sys/devices/system/cpu/cpu1/topology/die_id: 0
sys/devices/system/cpu/cpu1/topology/core_id: 1
sys/devices/system/cpu/cpu1/topology/thread_siblings_list: 1,5
sys/devices/system/cpu/cpu2/topology/physical_package_id: 1
sys/devices/system/cpu/cpu2/topology/die_id: 0
sys/devices/system/cpu/cpu2/topology/core_id: 0
sys/devices/system/cpu/cpu2/topology/thread_siblings_list: 2,6
sys/devices/system/cpu/cpu3/topology/physical_package_id: 1
sys/devices/system/cpu/cpu3/topology/die_id: 0
sys/devices/system/cpu/cpu3/topology/core_id: 1
sys/devices/system/cpu/cpu3/topology/thread_siblings_list: 3,7
sys/devices/system/cpu/cpu4/topology/physical_package_id: 0
sys/devices/system/cpu/cpu4/topology/die_id: 0
sys/devices/system/cpu/cpu4/topology/core_id: 0
sys/devices/system/cpu/cpu4/topology/thread_siblings_list: 0,4
sys/devices/system/cpu/cpu5/topology/physical_package_id: 0
sys/devices/system/cpu/cpu5/topology/die_id: 0
sys/devices/system/cpu/cpu5/topology/core_id: 1
sys/devices/system/cpu/cpu5/topology/thread_siblings_list: 1,5
sys/devices/system/cpu/cpu6/topology/physical_package_id: 1
sys/devices/system/cpu/cpu6/topology/die_id: 0
sys/devices/system/cpu/cpu6/topology/core_id: 0
sys/devices/system/cpu/cpu6/topology/thread_siblings_list: 2,6
sys/devices/system/cpu/cpu7/topology/physical_package_id: 1
sys/devices/system/cpu/cpu7/topology/die_id: 0
sys/devices/system/cpu/cpu7/topology/core_id: 1
sys/devices/system/cpu/cpu7/topology/thread_siblings_list: 3,7
sys/devices/system/node/node0/meminfo: Node 0 MemTotal:       65807532 kB\nNode 0 MemFree:        1 kB
sys/devices/system/node/node0/cpulist: 0-1,4-5
sys/devices/system/node/node0/distance: 10 21
sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages: 0
sys/devices/system/node/node0/hugepages/hugepages-1048576kB/nr_hugepages: 4
sys/devices/system/node/node1/meminfo: Node 1 MemTotal:       65807532 kB\nNode 1 MemFree:        1 kB
sys/devices/system/node/node1/cpulist: 2-3,6-7
sys/devices/system/node/node1/distance: 21 10
sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages: 512
sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages: 4
