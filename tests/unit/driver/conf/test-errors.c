/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bad XML, the code that a client branches on, and the beginning of the text that a
 * human reads. Codes and beginnings are those of libvirt's own drivers.
 */
#include <glib.h>
#include <string.h>

#include "conf/domain_def.h"
#include "util/error.h"

typedef struct BadXml {
        const char *xml;
        int code; /* virErrorNumber */
        const char *text;
        guint flags;
} BadXml;

/* A good definition with something in it: T at the top, D among the devices, L as legacy hardware, R refused. */
#define HEAD                "<domain type='kvm'><name>x</name><memory>65536</memory>"
#define OS                  "<os><type>hvm</type></os>"
#define T(x)                HEAD "<vcpu>2</vcpu>" OS x "</domain>"
#define O(x)                HEAD "<os>" x "</os></domain>"
#define V(x)                HEAD OS x "</domain>"
#define D(x)                T("<devices>" x "</devices>")
#define DISK(target, inner) "<disk type='file'><source file='/a'/><target " target "/>" inner "</disk>"
#define NIC(inner)          "<interface type='bridge'><source bridge='b'/>" inner "</interface>"

static const BadXml well_formedness[] = {
        { "", VIR_ERR_XML_DETAIL, "(domain_definition):1: ", 0 },
        { "not XML", VIR_ERR_XML_DETAIL, "(domain_definition):1: ", 0 },
        { "<domain>\n<name>x</name></foo>", VIR_ERR_XML_DETAIL,
          "(domain_definition):2: Opening and ending tag mismatch: domain line 1 and foo\n<name>x</name></foo>\n-----",
          0 },
        { "<domain type='kvm'>", VIR_ERR_XML_DETAIL, "(domain_definition):1: Premature end of data in tag domain", 0 },
        { "<domain type='kvm'><name>\x01</name></domain>", VIR_ERR_XML_DETAIL, "(domain_definition):1: ", 0 },
        { "<domain type='kvm'><name>\xff\xfe</name></domain>", VIR_ERR_XML_DETAIL, "(domain_definition):1: ", 0 },
        { "<domain type='kvm'><name>&x;</name></domain>", VIR_ERR_XML_DETAIL, "(domain_definition):1: Entity 'x'", 0 },
        { "<!DOCTYPE domain><domain type='kvm'/>", VIR_ERR_XML_ERROR, "XML error: (domain_definition): a document type",
          0 },
        { "<!DOCTYPE domain SYSTEM 'http://127.0.0.1/x.dtd'><domain type='kvm'/>", VIR_ERR_XML_ERROR,
          "XML error: (domain_definition): a document type", 0 },
        { "<!DOCTYPE d [<!ENTITY f SYSTEM 'file:///etc/passwd'>]><domain type='kvm'><name>&f;</name></domain>",
          VIR_ERR_XML_ERROR, "XML error: (domain_definition): a document type", 0 },
        { "<!DOCTYPE d [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'><!ENTITY c "
          "'&b;&b;&b;&b;&b;&b;'>]>"
          "<domain type='kvm'><name>&c;</name></domain>",
          VIR_ERR_XML_ERROR, "XML error: (domain_definition): a document type", 0 },
};

#define AT(slot) "<address type='pci' slot='" slot "'/>"

static const BadXml addresses[] = {
        { D(DISK("dev='vda'", "<address type='pci' bus='1' slot='0'/>")), VIR_ERR_XML_ERROR,
          "XML error: Invalid PCI address 0000:01:00.0 of disk 'vda': write domain='0x0000' bus='0x00' function='0x0' "
          "and "
          "a slot of '0x01' to '0x1e', or remove <address>",
          0 },
        { D(DISK("dev='vda'", "<address type='pci' domain='1' slot='3'/>")), VIR_ERR_XML_ERROR,
          "XML error: Invalid PCI address 0001:00:03.0 of disk 'vda'", 0 },
        { D(DISK("dev='vda'", "<address type='pci' slot='3' function='1'/>")), VIR_ERR_XML_ERROR,
          "XML error: Invalid PCI address 0000:00:03.1 of disk 'vda'", 0 },
        { D(NIC("<mac address='52:54:00:00:00:01'/>" AT("0x1f"))), VIR_ERR_XML_ERROR,
          "XML error: Invalid PCI address 0000:00:1f.0 of interface '52:54:00:00:00:01'", 0 },
        { D(DISK("dev='vda'", AT("0x20"))), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'slot' in element 'address': '32'. Expected at most 31", 0 },
        { D(DISK("dev='vda'", AT("x"))), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'slot' in element 'address': 'x'", 0 },
        { D(DISK("dev='vda'", AT("4")) "<rng model='virtio'><backend model='random'/>" AT("0x04") "</rng>"),
          VIR_ERR_XML_ERROR,
          "XML error: Attempted double use of PCI Address 0000:00:04.0 by disk 'vda' and rng 'virtio': remove "
          "<address> "
          "from one of them",
          0 },
};

static const BadXml identity[] = {
        { "<network><name>x</name></network>", VIR_ERR_XML_ERROR,
          "XML error: expecting root element of 'domain', not 'network'", 0 },
        { "<domain><name>x</name></domain>", VIR_ERR_INTERNAL_ERROR, "internal error: missing domain type attribute",
          0 },
        { "<domain type='foo'/>", VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: invalid domain type foo", 0 },
        { "<domain type='qemu'/>", VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <domain type='qemu'> is not supported: write type='kvm'", 0 },
        { "<domain type='kvm'/>", VIR_ERR_NO_NAME, "missing name information", 0 },
        { "<domain type='kvm'><name></name></domain>", VIR_ERR_NO_NAME, "missing name information", 0 },
        { "<domain type='kvm'><name>a/b</name></domain>", VIR_ERR_XML_ERROR, "XML error: name a/b cannot contain '/'",
          0 },
        { "<domain type='kvm'><name>a\nb</name></domain>", VIR_ERR_XML_DETAIL, "invalid char in name: \n", 0 },
        { "<domain type='kvm'><name>a&#9;b</name></domain>", VIR_ERR_XML_DETAIL, "invalid char in name: \t", 0 },
        { "<domain type='kvm'><name>a&#0;b</name></domain>", VIR_ERR_XML_DETAIL, "(domain_definition):1: ", 0 },
        { "<domain type='kvm'><name>x</name><uuid>bad</uuid></domain>", VIR_ERR_INTERNAL_ERROR,
          "internal error: malformed uuid element", 0 },
        { T("<title>a\nb</title>"), VIR_ERR_XML_ERROR, "XML error: Domain title can't contain newlines", 0 },
};

static const BadXml machine[] = {
        { "<domain type='kvm'><name>x</name>" OS "</domain>", VIR_ERR_XML_ERROR,
          "XML error: Memory size must be specified via <memory>", 0 },
        { "<domain type='kvm'><name>x</name><memory>0</memory></domain>", VIR_ERR_XML_ERROR,
          "XML error: Memory size must be specified via <memory>", 0 },
        { "<domain type='kvm'><name>x</name><memory unit='zz'>1</memory></domain>", VIR_ERR_INVALID_ARG,
          "invalid argument: unknown suffix 'zz'", 0 },
        { "<domain type='kvm'><name>x</name><memory>abc</memory></domain>", VIR_ERR_XML_ERROR,
          "XML error: Invalid value 'abc' for element or attribute './memory", 0 },
        { "<domain type='kvm'><name>x</name><memory>-5</memory></domain>", VIR_ERR_XML_ERROR,
          "XML error: Invalid value '-5'", 0 },
        { "<domain type='kvm'><name>x</name><memory unit='EiB'>99999999</memory></domain>", VIR_ERR_OVERFLOW,
          "numerical overflow: value too large: 99999999EiB", 0 },
        { "<domain type='kvm'><name>x</name><memory>18446744073709551616</memory></domain>", VIR_ERR_XML_ERROR,
          "XML error: Invalid value '18446744073709551616'", 0 },
        { O("<type machine='micro-0'>hvm</type>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Emulator 'virtmicro-vmm' does not support machine type 'micro-0': there are "
          "micro "
          "(the newest), micro-1" },
        { O("<type machine='micro-2'>hvm</type>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Emulator 'virtmicro-vmm' does not support machine type 'micro-2'",
          DOMAIN_PARSE_REJECT_LEGACY },
        { O("<type machine='micro-'>hvm</type>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Emulator 'virtmicro-vmm' does not support machine type 'micro-'" },
        { V("<vcpu>0</vcpu>"), VIR_ERR_INTERNAL_ERROR, "internal error: a domain needs", 0 },
        { V("<vcpu>abc</vcpu>"), VIR_ERR_XML_ERROR, "XML error: maximum vcpus count must be an integer", 0 },
        { V("<vcpu>33</vcpu>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: 33 vCPUs are more than the limit of 32", 0 },
        { V("<vcpu current='3'>2</vcpu>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: maximum vCPU count must not be less than current vCPU count", 0 },
        { V("<vcpu placement='foo'>2</vcpu>"), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'placement' in element 'vcpu': 'foo'.", 0 },
        { V("<vcpu placement='auto'>2</vcpu>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <vcpu placement='auto'> is not supported: use a cpuset", 0 },
        { V("<vcpu cpuset='foo'>2</vcpu>"), VIR_ERR_INVALID_ARG, "invalid argument: Failed to parse bitmap 'foo'", 0 },
        { V("<vcpu cpuset='1,^1'>2</vcpu>"), VIR_ERR_INVALID_ARG, "invalid argument: Invalid value of 'cpuset': 1,^1",
          0 },
        { HEAD "</domain>", VIR_ERR_XML_ERROR, "XML error: an os <type> must be specified", 0 },
        { O(""), VIR_ERR_XML_ERROR, "XML error: an os <type> must be specified", 0 },
        { O("<type>xxx</type>"), VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: unknown OS type 'xxx'", 0 },
        { O("<type>exe</type>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <os><type>exe is not supported: write hvm", 0 },
        { O("<type arch='bar'>hvm</type>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Unknown architecture bar", 0 },
        { O("<type arch='aarch64'>hvm</type>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <os><type arch='aarch64'>", 0 },
        { O("<type>hvm</type><boot/>"), VIR_ERR_XML_ERROR, "XML error: missing boot device", 0 },
        { O("<type>hvm</type><boot dev='x'/>"), VIR_ERR_XML_ERROR, "XML error: Invalid value for attribute 'dev'", 0 },
        { T("<on_crash>foo</on_crash>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown on_crash action: foo", 0 },
        { T("<on_reboot>coredump-destroy</on_reboot>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown on_reboot action: coredump-destroy", 0 },
        { T("<memoryBacking><source type='x'/></memoryBacking>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown memoryBacking/source/type 'x'", 0 },
        { T("<cpu mode='foo'/>"), VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: Invalid mode attribute 'foo'",
          0 },
        { T("<cpu mode='host-passthrough'><feature name='nonsense'/></cpu>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: CPU feature 'nonsense' is not known", 0 },
        { T("<cpu mode='host-passthrough'><feature name='rdctl-no'/></cpu>"),
          VIR_ERR_CONFIG_UNSUPPORTED, /* no CPUID bit */
          "unsupported configuration: CPU feature 'rdctl-no' is not known", 0 },
        { T("<cpu mode='host-passthrough'><feature name='svm' policy='x'/></cpu>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Invalid CPU feature policy 'x'", 0 },
        { T("<cpu mode='host-passthrough'><feature policy='force'/></cpu>"), VIR_ERR_XML_ERROR,
          "XML error: Invalid CPU feature name", 0 },
        { T("<cpu mode='host-passthrough'><feature name='svm'/><feature name='svm'/></cpu>"), VIR_ERR_XML_ERROR,
          "XML error: CPU feature 'svm' specified more than once", 0 },
        { T("<cpu mode='custom'><model fallback='forbid'>EPYC</model></cpu>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <cpu><model fallback='forbid'> is not supported", 0 },
        { T("<cpu><topology sockets='2' cores='2' threads='1'/></cpu>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: CPU topology doesn't match maximum vcpu count", 0 },
        { T("<cpu><topology sockets='0' cores='2' threads='1'/></cpu>"), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'sockets' in element 'topology': Zero is not permitted", 0 },
        { T("<cpu><numa><cell id='0' cpus='0-1' memory='65536'/></numa></cpu>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <cpu><numa> is not supported", 0 },
        { O("<type>hvm</type><kernel>/k</kernel><loader secure='yes'>/x</loader>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <os><loader secure='yes'> is not supported: nothing would check what is booted",
          0 },
        { O("<type>hvm</type><kernel>/k</kernel><loader secure='yes'>/x</loader>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <os><loader secure='yes'> is not supported", DOMAIN_PARSE_REJECT_LEGACY },
        { O("<type>hvm</type><kernel>/k</kernel><loader secure='yes'>/x</loader>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <os><loader secure='yes'> is not supported", DOMAIN_PARSE_VALIDATE },
        { T("<launchSecurity type='sev'><policy>1</policy></launchSecurity>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <launchSecurity> is not supported", 0 },
        { T("<launchSecurity type='sev'><policy>1</policy></launchSecurity>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <launchSecurity> is not supported", DOMAIN_PARSE_REJECT_LEGACY },
        { T("<clock offset='foo'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown clock offset 'foo'", 0 },
        { T("<clock offset='timezone'/>"), VIR_ERR_INTERNAL_ERROR, "internal error: missing 'timezone' attribute", 0 },
        { T("<clock offset='timezone' timezone='../../etc/shadow'/>"), VIR_ERR_XML_ERROR,
          "XML error: '../../etc/shadow' cannot", 0 },
        { T("<clock offset='utc'><timer name='foo'/></clock>"), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'name' in element 'timer': 'foo'.", 0 },
};

static const BadXml tuning[] = {
        { T("<cputune><shares>abc</shares></cputune>"), VIR_ERR_XML_ERROR,
          "XML error: can't parse cputune shares value", 0 },
        { T("<cputune><shares>1</shares></cputune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Value of cputune 'shares'", 0 },
        { T("<cputune><period>5</period></cputune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Value of cputune 'period' must be in range [1000, 1000000]", 0 },
        { T("<cputune><period>-1</period></cputune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Value of cputune 'period'", 0 },
        { T("<cputune><quota>5</quota></cputune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Value of cputune 'quota' must be in range [1000, 17592186044415]", 0 },
        { T("<cputune><vcpupin vcpu='0'/></cputune>"), VIR_ERR_INTERNAL_ERROR,
          "internal error: missing cpuset for vcpupin", 0 },
        { T("<cputune><vcpupin vcpu='a' cpuset='1'/></cputune>"), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'vcpu' in element 'vcpupin': 'a'. Expected non-negative integer "
          "value",
          0 },
        { T("<cputune><vcpupin vcpu='0' cpuset='1'/><vcpupin vcpu='0' cpuset='1'/></cputune>"), VIR_ERR_INTERNAL_ERROR,
          "internal error: duplicate vcpupin for vcpu '0'", 0 },
        { T("<cputune><vcpupin vcpu='0' cpuset='4096'/></cputune>"), VIR_ERR_INVALID_ARG,
          "invalid argument: Failed to parse bitmap", 0 },
        { T("<cputune><emulatorpin cpuset='1'/><emulatorpin cpuset='1'/></cputune>"), VIR_ERR_XML_ERROR,
          "XML error: only one emulatorpin is supported", 0 },
        { T("<cputune><vcpusched vcpus='0' scheduler='fifo' priority='1'/></cputune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <cputune><vcpusched> is not supported", 0 },
        { T("<cputune><emulatorsched scheduler='idle'/></cputune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <cputune><emulatorsched> is not supported", 0 },
        { T("<cputune><cachetune vcpus='0'/></cputune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <cputune><cachetune> is not supported", 0 },
        { T("<numatune><memory mode='strict'/></numatune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: nodeset for NUMA memory tuning must be set if 'placement' is 'static'", 0 },
        { T("<numatune><memory mode='foo' nodeset='0'/></numatune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Unsupported NUMA memory tuning mode 'foo'", 0 },
        { T("<blkiotune><device><weight>300</weight></device></blkiotune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: missing per-device path", 0 },
        { T("<blkiotune><weight>5</weight></blkiotune>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: Value of blkiotune 'weight' must be in range", 0 },
        { T("<blkiotune><device><path>/d</path></device><device><path>/d</path></device></blkiotune>"),
          VIR_ERR_XML_ERROR, "XML error: duplicate blkio device path '/d'", 0 },
};

static const BadXml disks[] = {
        { D("<disk type='file'/>"), VIR_ERR_NO_TARGET, "missing target information for device", 0 },
        { D("<disk type='file'><target dev='vda'/></disk>"), VIR_ERR_NO_SOURCE,
          "missing source information for device vda", 0 },
        { D("<disk type='volume'><source pool='p'/><target dev='vda'/></disk>"), VIR_ERR_NO_SOURCE,
          "missing source information for device vda", 0 },
        { D(DISK("dev='zda'", "")), VIR_ERR_XML_ERROR, "XML error: Unknown disk name 'zda'", 0 },
        { D(DISK("dev='vda/../x'", "")), VIR_ERR_XML_ERROR, "XML error: Unknown disk name", 0 },
        { D(DISK("dev='vda' bus='bogus'", "")), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'bus' in element 'target': 'bogus'.", 0 },
        { D("<disk type='bogus'/>"), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'type' in element 'disk': 'bogus'.", 0 },
        { D("<disk type='network'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <disk type='network'> is not supported", 0 },
        { D("<disk device='bogus'/>"), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'device' in element 'disk'", 0 },
        { D("<disk device='lun'/>"), VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: <disk device='lun'>", 0 },
        { D(DISK("dev='vda'", "") "<disk type='file'><source file='/b'/><target dev='vda'/></disk>"), VIR_ERR_XML_ERROR,
          "XML error: target 'vda' duplicated for disk sources '/a' and '/b'", 0 },
        { D(DISK("dev='vda'", "<driver cache='x'/>")), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'cache' in element 'driver': 'x'.", 0 },
        { D(DISK("dev='vda'", "<boot order='0'/>")), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'order' in element 'boot': Zero is not permitted", 0 },
        { D(DISK("dev='vda'", "<boot order='1'/>") DISK("dev='vdb'", "<boot order='1'/>")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: boot order '1' used for more than one device", 0 },
        { O("<type>hvm</type><boot dev='hd'/></os><devices>" DISK("dev='vda'", "<boot order='1'/>") "</devices><os>"),
          VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: per-device boot elements cannot be used together",
          0 },
        { D(DISK("dev='vda'",
                 "<iotune><total_bytes_sec>4</total_bytes_sec><read_bytes_sec>1</read_bytes_sec></iotune>")),
          VIR_ERR_XML_ERROR, "XML error: total and read/write bytes_sec cannot be set at the same time", 0 },
        { D(DISK("dev='vda'", "<wwn>xyz</wwn>")), VIR_ERR_INTERNAL_ERROR, "internal error: Malformed wwn: xyz", 0 },
        { D(DISK("dev='vda'", "<encryption format='luks'/>")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: disk 'vda': <encryption>", 0 },
        { D(DISK("dev='vda'", "<blockio logical_block_size='4096'/>")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: disk 'vda': <blockio>", 0 },
        { D(DISK("dev='vda'", "<blockio logical_block_size='4096'/>")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: disk 'vda': <blockio>", DOMAIN_PARSE_REJECT_LEGACY },
        { D(DISK("dev='vda'", "<transient/>")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: disk 'vda': <transient>", 0 },
        { D(DISK("dev='vda'", "<alias name='ua-a'/>") DISK("dev='vdb'", "<alias name='ua-a'/>")), VIR_ERR_XML_ERROR,
          "XML error: non unique alias detected: ua-a", 0 },
};

static const BadXml nics[] = {
        { D("<interface type='bogus'/>"), VIR_ERR_XML_ERROR,
          "XML error: Invalid value for attribute 'type' in element 'interface'", 0 },
        { D("<interface type='user'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <interface type='user'> is not", 0 },
        { D("<interface type='bridge'/>"), VIR_ERR_XML_ERROR,
          "XML error: interface type='bridge' requires a 'source' element", 0 },
        { D("<interface type='network'/>"), VIR_ERR_XML_ERROR,
          "XML error: interface type='network' requires a 'source' element", 0 },
        { D("<interface type='bridge'><source bridge='a-name-that-is-too-long'/></interface>"), VIR_ERR_XML_ERROR,
          "XML error: 'a-name-that-is-too-long' cannot be the name", 0 },
        { D(NIC("<target dev='../x'/>")), VIR_ERR_XML_ERROR, "XML error: '../x' cannot be the name", 0 },
        { D(NIC("<mac address='foo'/>")), VIR_ERR_XML_ERROR, "XML error: unable to parse mac address 'foo'", 0 },
        { D(NIC("<mac address='01:00:00:00:00:01'/>")), VIR_ERR_XML_ERROR,
          "XML error: expected unicast mac address, found multicast '01:00:00:00:00:01'", 0 },
        { D(NIC("<link state='x'/>")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown interface link state 'x'", 0 },
        { D(NIC("<mtu size='x'/>")), VIR_ERR_XML_ERROR, "XML error: malformed mtu size", 0 },
        { D(NIC("<vlan><tag id='5000'/></vlan>")), VIR_ERR_XML_ERROR,
          "XML error: vlan tag id 5000 too large (maximum 4095)", 0 },
        { D(NIC("<vlan/>")), VIR_ERR_XML_ERROR, "XML error: missing tag id - each <vlan>", 0 },
        { D(NIC("<vlan trunk='yes'><tag id='1'/></vlan>")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <vlan trunk='yes'>", 0 },
        { D(NIC("<bandwidth><inbound peak='1'/></bandwidth>")), VIR_ERR_XML_DETAIL,
          "Missing mandatory average or floor attributes", 0 },
        { D(NIC("<model type='$$'/>")), VIR_ERR_INVALID_ARG, "invalid argument: Model name contains invalid characters",
          0 },
        { D("<interface type='ethernet'><target managed='no'/></interface>"), VIR_ERR_XML_ERROR,
          "XML error: an unmanaged <target>", 0 },
};

static const BadXml chars[] = {
        { D("<serial type='bogus'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown type presented to host for character device: bogus", 0 },
        { D("<serial type='tcp'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <serial type='tcp'> is not supported", 0 },
        { D("<serial type='unix'/>"), VIR_ERR_INTERNAL_ERROR,
          "internal error: Missing source path attribute for char device", 0 },
        { D("<serial type='file'/>"), VIR_ERR_INTERNAL_ERROR,
          "internal error: Missing source path attribute for char device", 0 },
        { D("<serial type='pty'/><serial type='pty'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: there is one serial port", 0 },
        { D("<console type='pty'><target type='foo'/></console>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown target type 'foo' specified for character device", 0 },
        { D("<console type='pty'><target type='xen'/></console>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <target type='xen'>", 0 },
        { D("<channel type='unix'><target type='foo'/></channel>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown target type 'foo' specified for character device", 0 },
        { D("<channel type='unix'/>"), VIR_ERR_XML_ERROR, "XML error: target type must be specified for channel device",
          0 },
        { D("<channel type='pty'><target type='virtio' name='a'/></channel>"
            "<channel type='pty'><target type='virtio' name='a'/></channel>"),
          VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: channel name 'a' used for more than one", 0 },
        { D("<rng/>"), VIR_ERR_XML_ERROR, "XML error: missing RNG device model", 0 },
        { D("<rng model='virtio'/>"), VIR_ERR_XML_ERROR, "XML error: only one RNG backend is supported", 0 },
        { D("<rng model='virtio'><backend model='foo'/></rng>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: unknown RNG backend model 'foo'", 0 },
        { D("<rng model='virtio'><backend model='egd'/></rng>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <backend model='egd'>", 0 },
        { D("<vsock/><vsock/>"), VIR_ERR_XML_ERROR, "XML error: only a single vsock device is supported", 0 },
        { D("<vsock><cid address='2'/></vsock>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: guest CIDs must be >= 3", 0 },
        { D("<vsock><cid address='4294967295'/></vsock>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: guest CIDs must be >= 3, and not 4294967295", 0 },
        { D("<filesystem type='mount'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <filesystem> is not supported", 0 },
        { D("<hostdev mode='subsystem'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <hostdev> is not supported", 0 },
        { D("<tpm model='tpm-crb'/>"), VIR_ERR_CONFIG_UNSUPPORTED, "unsupported configuration: <tpm> is not supported",
          0 },
};

#define REJECT DOMAIN_PARSE_REJECT_LEGACY
static const BadXml legacy[] = {
        { D("<graphics type='vnc'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <graphics> is not supported (microVMs have no display, the console is <console "
          "type='pty'/>): remove it",
          REJECT },
        { D("<memballoon model='virtio'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <memballoon> is not supported (", REJECT },
        { D("<controller type='usb'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <controller type='usb'>", REJECT },
        { D("<channel type='spicevmc'/>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <channel type='spicevmc'>", REJECT },
        { D(DISK("dev='hda' bus='ide'", "")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: disk 'hda' on bus 'ide' is not supported: write <target dev='vda' bus='virtio'/>",
          REJECT },
        { D("<disk device='cdrom'><target dev='hdc'/></disk>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: cdrom 'hdc' is not supported: write <disk device='disk'>", REJECT },
        { D("<disk device='floppy'><target dev='fda'/></disk>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: floppy 'fda' is not supported: remove it", REJECT },
        { D(NIC("<mac address='52:54:00:00:00:01'/><model type='e1000'/>")), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: interface 52:54:00:00:00:01 of model 'e1000' is not supported: write <model "
          "type='virtio'/>",
          REJECT },
        { O("<type machine='q35'>hvm</type>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: machine type 'q35'", REJECT },
        { O("<type>hvm</type><loader>/x</loader>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: <os><loader> is not supported (", REJECT },
        { D("<emulator>/usr/bin/qemu</emulator>"), VIR_ERR_CONFIG_UNSUPPORTED,
          "unsupported configuration: emulator '/usr/bin/qemu'", REJECT },
};

#define STRICT DOMAIN_PARSE_VALIDATE
static const BadXml schema[] = {
        { T("<bogus/>"), VIR_ERR_XML_INVALID_SCHEMA, "XML document failed to validate against schema: ", STRICT },
        { D(DISK("dev='vda' bus='virtio' x='y'", "")), VIR_ERR_XML_INVALID_SCHEMA, "XML document failed", STRICT },
        { T("<vcpu>2</vcpu><vcpu>2</vcpu>"), VIR_ERR_XML_INVALID_SCHEMA, "XML document failed", STRICT },
};

static void check_table(const BadXml *table, gsize n) {
        for (gsize i = 0; i < n; i++) {
                g_autoptr(GError) err = NULL;
                g_autoptr(DomainDef) def = domain_def_parse(table[i].xml, table[i].flags, SCHEMA_DIR, &err);
                g_autofree char *xml = g_strescape(table[i].xml, NULL);
                g_autofree char *result = g_strescape(err != NULL ? err->message : "no error", NULL);
                g_test_message("%s -> %s", xml, result);
                g_assert_null(def);
                g_assert_error(err, VIRTMICRO_ERROR, table[i].code);
                g_assert_true(g_str_has_prefix(err->message, table[i].text));
        }
}

#define TABLE_TEST(name)                                                                                               \
        static void test_##name(void) {                                                                                \
                check_table(name, G_N_ELEMENTS(name));                                                                 \
        }
TABLE_TEST(well_formedness)
TABLE_TEST(identity)
TABLE_TEST(machine)
TABLE_TEST(tuning)
TABLE_TEST(addresses)
TABLE_TEST(disks)
TABLE_TEST(nics)
TABLE_TEST(chars)
TABLE_TEST(legacy)
TABLE_TEST(schema)

/* What is refused with the legacy setting or under --validate is fine without. */
static void test_lenient(void) {
        for (gsize i = 0; i < G_N_ELEMENTS(legacy); i++) {
                g_autoptr(GError) err = NULL;
                g_autoptr(DomainDef) def = domain_def_parse(legacy[i].xml, 0, NULL, &err);
                g_assert_no_error(err);
                g_assert_cmpuint(def->notes->len, >, 0);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(schema); i++) {
                g_autoptr(GError) err = NULL;
                g_autoptr(DomainDef) def G_GNUC_UNUSED = domain_def_parse(schema[i].xml, 0, NULL, &err);
                g_assert_no_error(err);
        }
}

/* --- Limits: one more than allowed is refused, and what is allowed passes ---------------- */

static DomainDef *parse_many(const char *format, unsigned n, GError **err) {
        GString *xml = g_string_new(HEAD OS "<devices>");
        for (unsigned i = 0; i < n; i++) {
                g_autofree char *item = g_strdup_printf("%c%c", 'a' + i / 26 % 26, 'a' + i % 26);
                g_auto(GStrv) parts = g_strsplit(format, "@", -1);
                g_autofree char *device = g_strjoinv(item, parts);
                g_string_append(xml, device);
        }
        g_string_append(xml, "</devices></domain>");
        DomainDef *def = domain_def_parse(xml->str, 0, NULL, err);
        g_string_free(xml, TRUE);
        return def;
}

static void test_device_limits(void) {
        static const struct {
                const char *format;
                unsigned max;
        } cases[] = {
                { "<disk><source file='/a'/><target dev='vd@'/></disk>", DOMAIN_DISKS_MAX },
                { "<interface type='ethernet'/>", DOMAIN_NICS_MAX },
                { "<channel type='pty'><target type='virtio' name='@'/></channel>", DOMAIN_CHARS_MAX },
                { "<graphics type='vnc'/>", 256 },
        };
        for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
                g_autoptr(GError) err = NULL;
                g_autoptr(DomainDef) most G_GNUC_UNUSED = parse_many(cases[i].format, cases[i].max, &err);
                g_assert_no_error(err);
                g_assert_null(parse_many(cases[i].format, cases[i].max + 1, &err));
                g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_CONFIG_UNSUPPORTED);
        }
}

static void test_name_length(void) {
        for (unsigned extra = 0; extra < 2; extra++) {
                g_autoptr(GError) err = NULL;
                g_autofree char *name = g_strnfill(DOMAIN_NAME_MAX + extra, 'n');
                g_autofree char *xml =
                        g_strdup_printf("<domain type='kvm'><name>%s</name><memory>1</memory>" OS "</domain>", name);
                g_autoptr(DomainDef) def G_GNUC_UNUSED = domain_def_parse(xml, 0, NULL, &err);
                if (extra == 0)
                        g_assert_no_error(err);
                else
                        g_assert_error(err, VIRTMICRO_ERROR, VIR_ERR_XML_ERROR);
        }
}

static void check_too_large(const char *xml) {
        g_autoptr(GError) err = NULL;
        g_assert_null(domain_def_parse(xml, 0, NULL, &err));
        g_assert_true(g_error_matches(err, VIRTMICRO_ERROR, VIR_ERR_XML_ERROR) ||
                      g_error_matches(err, VIRTMICRO_ERROR, VIR_ERR_XML_DETAIL));
}

static void test_sizes(void) {
        g_autofree char *long_text = g_strnfill(2 * 1024 * 1024, 'x');
        g_autofree char *plain = g_strdup_printf(HEAD OS "<description>%s</description></domain>", long_text);
        check_too_large(plain);

        g_autofree char *quotes = g_strnfill(300 * 1024, '"'); /* six bytes each when formatted */
        g_autofree char *escaped = g_strdup_printf(HEAD OS "<description>%s</description></domain>", quotes);
        check_too_large(escaped);

        GString *deep = g_string_new(HEAD OS "<metadata>");
        for (unsigned i = 0; i < 5000; i++)
                g_string_append(deep, "<a>");
        for (unsigned i = 0; i < 5000; i++)
                g_string_append(deep, "</a>");
        g_string_append(deep, "</metadata></domain>");
        check_too_large(deep->str);
        g_string_free(deep, TRUE);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/errors/well-formedness", test_well_formedness);
        g_test_add_func("/errors/identity", test_identity);
        g_test_add_func("/errors/machine", test_machine);
        g_test_add_func("/errors/tuning", test_tuning);
        g_test_add_func("/errors/addresses", test_addresses);
        g_test_add_func("/errors/disks", test_disks);
        g_test_add_func("/errors/nics", test_nics);
        g_test_add_func("/errors/chars", test_chars);
        g_test_add_func("/errors/legacy", test_legacy);
        g_test_add_func("/errors/schema", test_schema);
        g_test_add_func("/errors/lenient", test_lenient);
        g_test_add_func("/limits/devices", test_device_limits);
        g_test_add_func("/limits/name", test_name_length);
        g_test_add_func("/limits/size", test_sizes);
        return g_test_run();
}
