//! Logins for which the server asks somebody else, on a connection of its own each time: a Kubernetes API, an LDAP server.

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

/// Who is asked.
#[derive(Clone, Copy)]
pub(crate) struct Elsewhere {
    pub(crate) kubernetes: SocketAddr,
    pub(crate) ldap: SocketAddr,
}

/// Enables both methods.
pub(crate) fn prepare(client: &Client, at: Elsewhere) -> Result<()> {
    let kubernetes = format!("http://{}", at.kubernetes);
    let ldap = format!("ldap://{}", at.ldap);
    let role = json!({
        "bound_service_account_names": "*", "bound_service_account_namespaces": "*",
        "token_type": "batch", "audience": "lab",
    });
    for (path, body) in [
        ("/v1/sys/auth/kubernetes", json!({ "type": "kubernetes" })),
        ("/v1/sys/auth/ldap", json!({ "type": "ldap" })),
        (
            "/v1/auth/kubernetes/config",
            json!({ "kubernetes_host": kubernetes, "disable_local_ca_jwt": true, "token_reviewer_jwt": token() }),
        ),
        ("/v1/auth/kubernetes/role/app", role),
        (
            "/v1/auth/ldap/config",
            json!({ "url": ldap, "userdn": "ou=Users,dc=lab", "request_timeout": 2 }),
        ),
    ] {
        let answer = client.put(path, &body)?;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!(answer.status < 300, "{path}: {} {text}", answer.status);
    }
    Ok(())
}

/// Both in turn, `rate` a second, until so many requests have been answered in all.
pub(crate) fn run(client: &Client, rate: f64, goal: usize, progress: &Progress) -> Result<()> {
    let mut due = Instant::now();
    let (mut complained, token) = (false, token());
    for number in 0.. {
        if rate <= 0.0 || progress.reached(goal) {
            break;
        }
        // Each on a connection of its own, as applications log in.
        let answer = if number % 2 == 0 {
            let login = json!({ "role": "app", "jwt": token });
            client.put("/v1/auth/kubernetes/login", &login)?
        } else {
            client.put("/v1/auth/ldap/login/somebody", &json!({ "password": "x" }))?
        };
        if answer.status >= 300 && !complained && number % 2 == 0 {
            complained = true;
            let text = String::from_utf8_lossy(&answer.body);
            println!("{}: HTTP {} {text}", answer.path, answer.status);
        }
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
        "exp": 4_102_444_800_u64,
        "kubernetes.io": {
            "namespace": "default", "serviceaccount": { "name": "app", "uid": "1" }
        },
    }));
    format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode("signature"))
}
