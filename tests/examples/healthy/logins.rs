//! Logins for which the server asks somebody else, on a connection of its own each time: the APIs of two Kubernetes clusters.

use std::{
    net::SocketAddr,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use lab::Client;
use serde_json::{Value, json};

use super::clients::Progress;

/// Asked for, and never used: HTTP without TLS has none. Nobody has its key.
const AUTHORITY: &str = include_str!("ca.pem");

/// Enables a method for each.
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

/// Both in turn, `rate` a second, until so many requests have been answered in all.
pub(crate) fn run(client: &Client, rate: f64, goal: usize, progress: &Progress) -> Result<()> {
    let mut due = Instant::now();
    let login = json!({ "role": "app", "jwt": token() });
    for number in 0.. {
        if rate <= 0.0 || progress.reached(goal) {
            break;
        }
        // Each on a connection of its own, as applications log in.
        let answer = client.put(&format!("/v1/auth/k8s{}/login", number % 2), &login)?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(
            answer.status < 300,
            "{}: {} {text}",
            answer.path,
            answer.status
        );
        progress.logins.fetch_add(1, Ordering::Relaxed);
        progress.note(answer);
        due += Duration::from_secs_f64(1.0 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
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
