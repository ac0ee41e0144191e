"""The enumerations of RFC 5070, with their values in the order of the standard.

An attribute whose list ends with "ext-value" can be extended privately (section 5.1): it then says "ext-value" and
its partner, the attribute of the same name with the prefix "ext-", has the value itself.
"""

from typing import Literal

# 3.1, IODEF-Document: version
Version = Literal["1.00"]

# 3.2, Incident: purpose
Purpose = Literal["traceback", "mitigation", "reporting", "other", "ext-value"]

# 3.2, the restriction attribute of every class
Restriction = Literal["public", "need-to-know", "private", "default"]

# 3.6, AdditionalData: dtype, and 3.19.3, RecordItem: dtype
DType = Literal[
    "boolean",
    "byte",
    "character",
    "date-time",
    "integer",
    "portlist",
    "real",
    "string",
    "file",
    "frame",
    "packet",
    "ipv4-packet",
    "ipv6-packet",
    "path",
    "url",
    "csv",
    "winreg",
    "xml",
    "ext-value",
]

# 3.7, Contact: role
ContactRole = Literal["creator", "admin", "tech", "irt", "cc", "ext-value"]

# 3.7, Contact: type
ContactType = Literal["person", "organization", "ext-value"]

# 3.7.1, RegistryHandle: registry
Registry = Literal["internic", "apnic", "arin", "lacnic", "ripe", "afrinic", "local", "ext-value"]

# 3.10, Assessment: occurrence
Occurrence = Literal["actual", "potential"]

# 3.10.1 to 3.10.3, the impacts: severity, and 3.13, Expectation: severity
Severity = Literal["low", "medium", "high"]

# 3.10.1, Impact: completion
Completion = Literal["failed", "succeeded"]

# 3.10.1, Impact: type; "other", which the text calls the default, is not in its list
ImpactType = Literal[
    "admin",
    "dos",
    "file",
    "info-leak",
    "misconfiguration",
    "policy",
    "recon",
    "social-engineering",
    "user",
    "unknown",
    "ext-value",
]

# 3.10.2, TimeImpact: metric
TimeImpactMetric = Literal["labor", "elapsed", "downtime", "ext-value"]

# 3.10.2, TimeImpact: duration, and 3.16.1, Counter: duration
Duration = Literal["second", "minute", "hour", "day", "month", "quarter", "year", "ext-value"]

# 3.10.4, Confidence: rating
ConfidenceRating = Literal["low", "medium", "high", "numeric"]

# 3.13, Expectation: action, and 3.11.1, HistoryItem: action
Action = Literal[
    "nothing",
    "contact-source-site",
    "contact-target-site",
    "contact-sender",
    "investigate",
    "block-host",
    "block-network",
    "block-port",
    "rate-limit-host",
    "rate-limit-network",
    "rate-limit-port",
    "remediate-other",
    "status-triage",
    "status-new-info",
    "other",
    "ext-value",
]

# 3.15, System: category
SystemCategory = Literal["source", "target", "intermediate", "sensor", "infrastructure", "ext-value"]

# 3.15, System: spoofed
Spoofed = Literal["unknown", "yes", "no"]

# 3.16.1, Counter: type
CounterType = Literal[
    "byte",
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

# 3.16.2, Address: category
AddressCategory = Literal[
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
    "ext-value",
]

# 3.16.3, NodeRole: category
NodeRoleCategory = Literal[
    "client",
    "server-internal",
    "server-public",
    "www",
    "mail",
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
    "infra",
    "log",
    "ext-value",
]

# 3.19.2, RecordPattern: type
RecordPatternType = Literal["regex", "binary", "xpath", "ext-value"]

# 3.19.2, RecordPattern: offsetunit
OffsetUnit = Literal["line", "binary", "ext-value"]
