//! Logins for which the server asks somebody else, on a connection of its own each time: the API of a Kubernetes cluster.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
};

use anyhow::{Result, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lab::{Client, Measured, Namespace};
use serde_json::{Value, json};

/// Asked for, and never used: HTTP without TLS has none. Nobody has its key.
const AUTHORITY: &str = include_str!("ca.pem");

const REVIEW: &str = r#"{"kind":"TokenReview","status":{"authenticated":true,"audiences":["lab"],"user":{"username":"system:serviceaccount:default:app","uid":"1","groups":[]}}}"#;

/// An API that says yes to all, and closes each connection, or leaves that to its clients.
pub(crate) fn start(namespace: &Namespace, at: SocketAddr, closes: bool) -> Result<()> {
    let (length, header) = (
        REVIEW.len(),
        if closes { "Connection: close\r\n" } else { "" },
    );
    let answer = format!(
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n{header}\r\n{REVIEW}"
    );
    let listener = namespace.run(|| Ok(TcpListener::bind(at)?))?;
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            // A client that has gone wants no answer.
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 16384]);
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    Ok(())
}

/// Enables a method for each cluster.
pub(crate) fn prepare(client: &Client, clusters: [SocketAddr; 2]) -> Result<()> {
    let role = json!({
        "bound_service_account_names": "*", "bound_service_account_namespaces": "*",
        "token_type": "batch", "audience": "lab",
    });
    for (number, at) in clusters.iter().enumerate() {
        let config = json!({
            "kubernetes_host": format!("http://{at}"),
            "disable_local_ca_jwt": true, "kubernetes_ca_cert": AUTHORITY, "token_reviewer_jwt": token(),
        });
        for (path, body) in [
            (
                format!("/v1/sys/auth/k8s{number}"),
                json!({ "type": "kubernetes" }),
            ),
            (format!("/v1/auth/k8s{number}/config"), config),
            (format!("/v1/auth/k8s{number}/role/app"), role.clone()),
        ] {
            let answer = client.put(&path, &body)?;
            let text = String::from_utf8_lossy(&answer.body);
            ensure!(answer.status < 300, "{path}: {} {text}", answer.status);
        }
    }
    Ok(())
}

/// Logs in by the cluster with this number, on a connection of its own, as applications do.
pub(crate) fn login(client: &Client, number: usize) -> Result<Measured> {
    let login = json!({ "role": "app", "jwt": token() });
    let answer = client.put(&format!("/v1/auth/k8s{number}/login"), &login)?;
    let text = String::from_utf8_lossy(&answer.body);
    ensure!(
        answer.status < 300,
        "{}: {} {text}",
        answer.path,
        answer.status
    );
    Ok(answer)
}

/// Of a service account; nobody checks its signature but the API, which says yes to all.
fn token() -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({ "alg": "RS256", "typ": "JWT" }));
    let claims = part(json!({
        "iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:app", "aud": ["lab"],
        "nbf": 1, "exp": 4_102_444_800_u64,
        "kubernetes.io": {
            "namespace": "default", "serviceaccount": { "name": "app", "uid": "1" }
        },
    }));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode("signature"))
}
