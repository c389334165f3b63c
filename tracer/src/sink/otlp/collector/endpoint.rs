//! The address, protocol and headers of a collector.

use std::{env, fmt};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, uri::PathAndQuery};
use percent_encoding::percent_decode_str;

/// The path that OTLP over HTTP appends to a base URL.
const TRACES: &str = "/v1/traces";

/// OpenTelemetry's environment variables for headers, in the order of precedence. Not an option: credentials are secret,
/// and everybody can see a command line.
const HEADERS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];

/// Transports of OTLP, with the names of `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// gRPC over HTTP/2
    #[value(name = "grpc")]
    Grpc,
    /// Protobuf over HTTP/1.1
    #[value(name = "http/protobuf")]
    Http,
}

impl Protocol {
    /// For messages.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Grpc => "OTLP over gRPC",
            Self::Http => "OTLP over HTTP",
        }
    }
}

/// A collector.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Of requests; for gRPC, whose path is fixed, the origin.
    pub(super) uri: Uri,
    pub(super) protocol: Protocol,
}

impl Endpoint {
    /// By default port 4317 is gRPC, and all others are HTTP.
    ///
    /// Errors do not repeat the text: it may contain a secret.
    pub fn parse(text: &str, protocol: Option<Protocol>) -> Result<Self, &'static str> {
        if text.contains('@') {
            return Err(
                "no user belongs into the URL: give what authenticates in the environment variable \
                 OTEL_EXPORTER_OTLP_HEADERS",
            );
        }
        let expected = "expected a URL such as http://collector:4317";
        let uri: Uri = text.parse().map_err(|_| expected)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("expected a URL that begins with http:// or https://");
        }
        if uri.host().is_none_or(str::is_empty) || text.contains('#') {
            return Err(expected);
        }
        // `port_u16` is `None` for an invalid port too.
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let after_host = authority.rsplit_once(']').map_or(authority, |(_, end)| end);
        if after_host.contains(':') && uri.port_u16().is_none_or(|port| port == 0) {
            return Err("expected a port from 1 to 65535");
        }
        if uri.query().is_some() {
            return Err("a collector's URL has no query");
        }
        let by_port = match uri.port_u16() {
            Some(4317) => Protocol::Grpc,
            _ => Protocol::Http,
        };
        let protocol = protocol.unwrap_or(by_port);
        let is_base = uri.path() == "/";
        match protocol {
            Protocol::Grpc if !is_base => {
                Err("gRPC has no path: leave it out, or give --otlp-protocol http/protobuf")
            }
            Protocol::Grpc => Ok(Self { uri, protocol }),
            Protocol::Http => {
                let uri = if is_base { with_path(uri, TRACES) } else { uri };
                Ok(Self { uri, protocol })
            }
        }
    }

    /// Its scheme, host and port.
    pub fn origin(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self
            .uri
            .authority()
            .map_or("", |authority| authority.as_str());
        format!("{scheme}://{authority}")
    }
}

fn with_path(uri: Uri, path: &'static str) -> Uri {
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static(path));
    Uri::from_parts(parts).unwrap_or(uri)
}

/// For messages. A path is hidden: some contain the token of a tenant.
impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.origin())?;
        match self.uri.path() {
            "/" => Ok(()),
            TRACES => out.write_str(TRACES),
            _ => out.write_str("/..."),
        }
    }
}

/// Headers from the environment, mostly for authentication.
pub fn headers() -> Result<HeaderMap> {
    let set = HEADERS.iter().find_map(|name| {
        let value = env::var(name).ok().filter(|value| !value.is_empty());
        value.map(|value| (*name, value))
    });
    match set {
        Some((name, value)) => parse_headers(&value).with_context(|| {
            format!("{name} is not a list KEY=VALUE,... with percent-encoded values")
        }),
        None => Ok(HeaderMap::new()),
    }
}

/// Errors show no values.
fn parse_headers(text: &str) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (index, pair) in text.split(',').enumerate() {
        if pair.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("entry {number} has no `=`"))?;
        let key = HeaderName::try_from(key.trim())
            .ok()
            .with_context(|| format!("the key of entry {number} is not a header name"))?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok();
        let value = value.and_then(|value| HeaderValue::try_from(value.as_ref()).ok());
        let mut value =
            value.with_context(|| format!("the value of entry {number} fits no header"))?;
        ensure!(!key.as_str().is_empty(), "entry {number} has no key");
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, protocol: Option<Protocol>) -> Result<(String, Protocol), &'static str> {
        Endpoint::parse(text, protocol)
            .map(|endpoint| (endpoint.uri.to_string(), endpoint.protocol))
    }

    #[test]
    fn the_port_chooses_the_protocol_and_http_has_a_path() {
        for (text, protocol, uri, expected) in [
            ("http://c:4317", None, "http://c:4317/", Protocol::Grpc),
            (
                "http://c:4318",
                None,
                "http://c:4318/v1/traces",
                Protocol::Http,
            ),
            ("https://c/", None, "https://c/v1/traces", Protocol::Http),
            (
                "https://c/otlp/in",
                None,
                "https://c/otlp/in",
                Protocol::Http,
            ),
            (
                "http://[::1]:4317",
                None,
                "http://[::1]:4317/",
                Protocol::Grpc,
            ),
            (
                "https://c:443",
                Some(Protocol::Grpc),
                "https://c:443/",
                Protocol::Grpc,
            ),
            (
                "http://c:4317",
                Some(Protocol::Http),
                "http://c:4317/v1/traces",
                Protocol::Http,
            ),
        ] {
            let read = parsed(text, protocol);
            assert_eq!(read, Ok((uri.to_owned(), expected)), "{text}");
        }
    }

    #[test]
    fn a_custom_path_is_not_shown() {
        for (text, shown) in [
            ("http://c:4317", "http://c:4317"),
            ("https://c", "https://c/v1/traces"),
            ("https://c/secret/v1/traces", "https://c/..."),
        ] {
            let endpoint = Endpoint::parse(text, None).expect(text);
            assert_eq!(endpoint.to_string(), shown);
        }
    }

    #[test]
    fn invalid_urls_are_refused() {
        for text in [
            "",
            "collector",
            "collector:4317",
            "ftp://c",
            "unix:///run/c",
            "http://",
            "http://:4317",
            "http://c:port",
            "http://c:0",
            "http://c:70000",
            "http://c/?token=secret",
            "http://user:secret@c",
            "http://c/#x",
            "http://c c",
        ] {
            let error = parsed(text, None).expect_err(text);
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(parsed("http://c:4317/v1/traces", None).is_err());
    }

    #[test]
    fn headers_are_read_as_specified_and_errors_show_none() {
        let headers = parse_headers("authorization=Bearer%20abc, x-team = vault ,").expect("read");
        assert_eq!(headers["authorization"], "Bearer abc");
        assert_eq!(headers["x-team"], "vault");
        assert!(headers["authorization"].is_sensitive());
        for text in [
            "secret",
            "a b=secret",
            "=secret",
            "a=%0asecret",
            "a=%ffsecret",
        ] {
            let error = parse_headers(text).expect_err(text);
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }
}
