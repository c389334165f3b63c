//! The report as a page.

use maud::{DOCTYPE, html};

use super::{summary::Report, text};

/// The page.
pub fn page(report: &Report) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head { meta charset="utf-8"; title { "vault-tracer report" } }
            body { pre { (text::text(report)) } }
        }
    };
    page.into_string()
}
