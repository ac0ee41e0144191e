"""The enumerations of RFC 7970, sections 3.17 to 3.29: systems, addresses, domains, files and indicators.

See `enums` for what is common to all of them.
"""

from typing import Literal

# 3.17, System: category
SystemCategory = Literal["source", "target", "intermediate", "sensor", "infrastructure", "ext-value"]

# 3.17, System: spoofed
Spoofed = Literal["unknown", "yes", "no"]

# 3.17, System: virtual
Virtual = Literal["yes", "no", "unknown"]

# 3.17, System: ownership
Ownership = Literal["organization", "personal", "partner", "customer", "no-relationship", "unknown", "ext-value"]

# 3.18.1, Address: category
AddressCategory = Literal[
    "asn",
    "atm",
    "e-mail",
    "ipv4-addr",
    "ipv4-net",
    "ipv4-net-masked",
    "ipv4-net-mask",
    "ipv6-addr",
    "ipv6-net",
    "ipv6-net-masked",
    "mac",
    "site-uri",
    "ext-value",
]

# 3.18.2, NodeRole: category
NodeRoleCategory = Literal[
    "client",
    "client-enterprise",
    "client-partner",
    "client-remote",
    "client-kiosk",
    "client-mobile",
    "server-internal",
    "server-public",
    "www",
    "mail",
    "webmail",
    "messaging",
    "streaming",
    "voice",
    "file",
    "ftp",
    "p2p",
    "name",
    "directory",
    "credential",
    "print",
    "application",
    "database",
    "backup",
    "dhcp",
    "assessment",
    "source-control",
    "config-management",
    "monitoring",
    "infra",
    "infra-firewall",
    "infra-router",
    "infra-switch",
    "camera",
    "proxy",
    "remote-access",
    "log",
    "virtualization",
    "pos",
    "scada",
    "scada-supervisory",
    "sinkhole",
    "honeypot",
    "anonymization",
    "c2-server",
    "malware-distribution",
    "drop-server",
    "hop-point",
    "reflector",
    "phishing-site",
    "spear-phishing-site",
    "recruiting-site",
    "fraudulent-site",
    "ext-value",
]

# 3.18.3, Counter: type
CounterType = Literal["count", "peak", "average", "ext-value"]

# 3.18.3, Counter: unit
CounterUnit = Literal[
    "byte",
    "mbit",
    "packet",
    "flow",
    "session",
    "alert",
    "message",
    "event",
    "host",
    "site",
    "organization",
    "ext-value",
]

# 3.19, DomainData: system-status
SystemStatus = Literal["spoofed", "fraudulent", "innocent-hacked", "innocent-hijacked", "unknown", "ext-value"]

# 3.19, DomainData: domain-status
DomainStatus = Literal[
    "reservedDelegation",
    "assignedAndActive",
    "assignedAndInactive",
    "assignedAndOnHold",
    "revoked",
    "transferPending",
    "registryLock",
    "registrarLock",
    "other",
    "unknown",
    "ext-value",
]

# 3.22.2, RecordPattern: type
PatternType = Literal["regex", "binary", "xpath", "ext-value"]

# 3.22.2, RecordPattern: offsetunit
OffsetUnit = Literal["line", "byte", "ext-value"]

# 3.23.1, Key: registryaction
RegistryAction = Literal[
    "add-key",
    "add-value",
    "delete-key",
    "delete-value",
    "modify-key",
    "modify-value",
    "ext-value",
]

# 3.26, HashData: scope
HashScope = Literal[
    "file-contents",
    "file-pe-section",
    "file-pe-iat",
    "file-pe-resource",
    "file-pdf-object",
    "email-hash",
    "email-headers-hash",
    "email-body-hash",
    "ext-value",
]

# 3.29.3.1, BulkObservable: type
BulkObservableType = Literal[
    "asn",
    "atm",
    "e-mail",
    "ipv4-addr",
    "ipv4-net",
    "ipv4-net-mask",
    "ipv6-addr",
    "ipv6-net",
    "ipv6-net-mask",
    "mac",
    "site-uri",
    "domain-name",
    "domain-to-ipv4",
    "domain-to-ipv6",
    "domain-to-ipv4-timestamp",
    "domain-to-ipv6-timestamp",
    "ipv4-port",
    "ipv6-port",
    "windows-reg-key",
    "file-hash",
    "email-x-mailer",
    "email-subject",
    "http-user-agent",
    "http-request-uri",
    "mutex",
    "file-path",
    "user-name",
    "ext-value",
]

# 3.29.4, IndicatorExpression: operator
# ERRATUM: the list of 3.29.4 ends at "xor"; but the class has an ext-operator, and section 5.1.1 gives "ext-value" to
# every attribute that has such a partner. Without it ext-operator could never be set.
Operator = Literal["not", "and", "or", "xor", "ext-value"]
