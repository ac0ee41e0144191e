"""Lexical forms of the data types of RFC 7970 section 2 (RFC 5070 section 2): the odd but right, and the wrong.

The tables are written from the standard and from W3C XML Schema part 2 (which the standard refers to), not from our
schema, so that they find its mistakes. They are keyed by the name of the Python type that a field has in the model.
"""

from __future__ import annotations

from collections.abc import Mapping

STRINGS: tuple[str, ...] = (
    "plain",
    "x",
    "  leading, trailing and  double blanks  ",
    "two\nlines\twith a tab",
    "a carriage return\rand a line end\r\n.",
    '<a href="x">&amp;\'</a> ]]> <!-- --> &#0;',
    "äöü ß é 日本語 עברית العربية",
    "astral \U0001f4a9 \U0001d11e \U0010fffd",
    "combining e\u0301, no-break\u00a0space, line separator \u2028, next line \u0085, soft\u00adhyphen, BOM \ufeff.",
    '{curly} %s %(x)s $1 \\n \\u0000 "quoted" null',
    "0",
    "-1",
    "true",
    "ext-value",
    "x" * 5000,
)

URLS: tuple[str, ...] = (
    "http://example.com/",
    "https://user@example.com:8443/a/b;c=d?x=1&y=2#fragment",
    "http://[2001:db8::1]/",
    "urn:ietf:params:xml:ns:iodef-2.0",
    "mailto:abuse@example.com",
    "../relative/path?query",
    "#fragment",
    "http://example.com/%E4%F6",
    "http://example.com/bücher/日本",
    "file:///c:/windows/system32",
    "tag:example.com,2026:x",
    "\n  http://example.com/padded\n  ",
)

DATES: tuple[str, ...] = (
    "2015-07-18T09:00:00-05:00",
    "2015-07-18T09:00:00Z",
    "2015-07-18T09:00:00",
    "2015-07-18T24:00:00Z",
    "9999-12-31T24:00:00",
    "9999-12-31T23:59:59.999999999999Z",
    "0001-01-01T00:00:00Z",
    "2016-02-29T12:00:00.000+14:00",
    "2000-02-29T00:00:00-14:00",
    "2015-07-18T09:00:00.1+00:00",
    "2015-07-18T09:00:00.120-00:00",
    "12015-07-18T09:00:00Z",
    "-0044-03-15T12:00:00Z",
    "\n   2014-12-02T11:18:00-05:00\n   ",
    " 2015-07-18T09:00:00 ",
    "\t2015-07-18T09:00:00.5Z",
)

REALS: tuple[str, ...] = (
    "0",
    "-0",
    "10000.00",
    "+1.50",
    ".5",
    "5.",
    "1E4",
    "-1.5e-10",
    "INF",
    "-INF",
    "NaN",
    "0.000000000000000000000000000001",
    "123456789012345678901234567890.5",
    "007.25",
)

POSITIVE: tuple[str, ...] = ("10000.00", "+1.50", ".5", "5.", "1E4", "1.5e-10", "INF", "007.25", "1e-30")
NOT_POSITIVE: tuple[str, ...] = ("0", "-0", "-1", "-INF", "-1.5e-10")

#: All within what a conforming processor must support at least (18 digits, XML Schema part 2 section 3.3.13) but the
#: last, which is the number of digits that libxml2 can compare.
INTEGERS: tuple[str, ...] = (
    "0",
    "1",
    "-1",
    "+7",
    "007",
    "-0",
    "65535",
    "4294967296",
    "-9223372036854775809",
    "999999999999999999",
    "\n 42\t",
    "123456789012345678901234",
)

SMALL: tuple[str, ...] = ("0", "1", "6", "+17", "058", "255")
PORTS: tuple[str, ...] = ("0", "1", "80", "+443", "0008080", "65535")

VALID: Mapping[str, tuple[str, ...]] = {
    "str": STRINGS,
    "int": INTEGERS,
    "Decimal": REALS,
    "float": REALS,
    "bool": ("true", "false", "1", "0", " true\n"),
    "DateTime": DATES,
    "Timezone": ("Z", "+00:00", "-00:00", "+14:59", "-09:30", "+05:45"),
    "PortList": ("0", "80", "65535", "80,443", "1-1024", "2,5-15,30,32,40-50,55-60", "00080"),
    "URL": URLS,
    "Language": (
        "en",
        "de-CH-1901",
        "zh-Hant-TW",
        "x-klingon",
        "i-klingon",
        "EN-us",
        "es-419",
        "sl-rozaj-biske",
        " en ",
    ),
    "NMToken": ("a", "1a", "a.b-c_d:e", "\u00e9t\u00e9", " padded\n"),
    "NCName": ("a", "_1", "\u00e9t\u00e9.x-1", "\n padded "),
    "Base64": ("", "YQ==", "YWI=", "YWJj", " Y Q = = ", "YWJj\nYWJj\n", "+/+/", "A" * 4000),
    "HexBinary": ("", "00", "00ff", "DEADbeef", "0123456789abcdefABCDEF", " 00FF\n"),
}

WRONG: Mapping[str, tuple[str, ...]] = {
    "int": ("", "x", "1.0", "1e3", "0x10", "--1", "1 2", "+", "INF", "1,000", "½"),
    "Decimal": ("", "x", "1,5", "1e", "inf", "nan", "Infinity", "0x1", "--1", "1.2.3", "1 2", "1_000", "e5"),
    "bool": ("", "yes", "True", "TRUE", "2", "on"),
    "DateTime": (
        "",
        "x",
        "2015-07-18",
        "09:00:00",
        "2015-07-18 09:00:00Z",
        "2015-7-18T09:00:00Z",
        "2015-13-18T09:00:00Z",
        "2015-00-18T09:00:00Z",
        "2015-02-29T09:00:00Z",
        "1900-02-29T09:00:00Z",
        "2015-02-30T09:00:00Z",
        "2015-07-18T25:00:00Z",
        "2015-07-18T24:00:01Z",
        "2015-07-18T09:60:00Z",
        "2015-07-18T09:00:60Z",
        "2015-07-18T09:00Z",
        "2015-07-18T09:00:00.Z",
        "2015-07-18T09:00:00,5Z",
        "2015-07-18T09:00:00z",
        "2015-07-18t09:00:00Z",
        "2015-07-18T09:00:00+15:00",
        "2015-07-18T09:00:00+01:60",
        "2015-07-18T09:00:00+0100",
        "2015-07-18T09:00:00+1:00",
        "20150718T090000Z",
        "15-07-18T09:00:00Z",
        "+2015-07-18T09:00:00Z",
        "2015-07-18T09:00:00Z/2015-07-19T09:00:00Z",
        "1437228000",
    ),
    "Timezone": ("", "z", "UTC", "CET", "+15:00", "+1:00", "+01:60", "+0100", "+01", "01:00", "±01:00", "+01:00:00"),
    "PortList": (
        "",
        "x",
        "-1",
        "80,",
        ",80",
        "80,,443",
        "80-",
        "-80",
        "80;443",
        "80 443",
        "80, 443",
        "1-2-3",
        "0x50",
    ),
    "Language": ("_", "en_US", "1en", "abcdefghi", "en-", "-en", "en--US", "en US", "en-abcdefghi", "日本"),
    "NMToken": ("", "a b", "a,b", "<"),
    "Base64": ("Y", "YQ", "YQ=", "YWJ", "YQ===", "Y!==", "====", "YWJj=", "YWJj-_"),
    "HexBinary": ("0", "00f", "xx", "0x00", "00-ff"),
    "NCName": ("", "1a", "a b", "a:b", "-a"),
    #: RFC 3986 section 2 and 3.2.2: escapes of two digits, brackets around the whole host, ports of digits.
    "URL": ("http://[", "http://example.com/%zz", "http://example.com:port/", "%"),
    "ID": ("", "1a", "a b", "a:b", "-a", ".a", "a,b", "a/b"),
    "IDRef": ("", "1a", "a b", "a:b", "-a", ".a"),
}
#: Values that no enumeration of the standard has, those with which people are wrong most often among them.
WRONG_ENUMERATION: tuple[str, ...] = ("", "no-such-value", " ", "PUBLIC-", "x y", "\u00e9")

ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "asn": ("64496", "AS64496"),
    "atm": ("47.0091.8100.0000.0060.3e64.fd01.0060.3e64.fd01.00",),
    "e-mail": ("abuse@example.com", "müller@例え.jp"),
    "ipv4-addr": ("192.0.2.1", "0.0.0.0", "255.255.255.255"),
    "ipv4-net": ("192.0.2.0/24", "0.0.0.0/0", "192.0.2.1/32"),
    "ipv4-net-masked": ("192.0.2.x/24", "192.xxx.2.0/2x"),
    "ipv4-net-mask": ("192.0.2.0/255.255.255.0",),
    "ipv6-addr": ("2001:db8::1", "::", "::ffff:192.0.2.1", "2001:DB8:0:0:0:0:0:1"),
    "ipv6-net": ("2001:db8::/32", "::/0"),
    "ipv6-net-mask": ("2001:db8::/ffff:ffff::",),
    "ipv6-net-masked": ("2001:db8:xxxx::/48",),
    "mac": ("aa:bb:cc:dd:ee:ff", "AA:BB:CC:00:11:22"),
    "site-uri": ("http://example.com/x?y=1&z=2",),
    "ext-value": ("anything < at & all",),
}

#: Content of an extension by its dtype (RFC 7970 section 2.16, RFC 5070 section 3.6), and content that does not fit.
EXTENSION: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "boolean": (VALID["bool"], ("maybe",)),
    "byte": (("YQ==", "AA=="), ("!",)),
    "bytes": (("00", "DEADbeef"), ("0x00", "abc")),
    "character": (("x", "\U0001f4a9", "<"), ("xy",)),
    "date-time": (DATES, ("yesterday", "2015-07-18")),
    "ntpstamp": (DATES, ("yesterday",)),
    "integer": (INTEGERS, ("1.5", "one")),
    "portlist": (VALID["PortList"], ("80-", "http")),
    "real": (REALS, ("1,5", "one")),
    "string": (STRINGS, ()),
    "file": (("YQ==", "YWJj\nYWJj\n"), ("no base64!",)),
    "path": (("/etc/passwd", "c:\\windows\\system32"), ()),
    "frame": (("00ff",), ("xx",)),
    "packet": (("00ff",), ("xx",)),
    "ipv4-packet": (("45000000",), ("xx",)),
    "ipv6-packet": (("60000000",), ("xx",)),
    "url": (URLS, ("http://[",)),
    "csv": (('a,b,"c ""d"""\r\n1,2,3',), ()),
    "winreg": (("[HKEY_LOCAL_MACHINE\\Software\\Test]",), ()),
    "ext-value": (STRINGS, ()),
}
