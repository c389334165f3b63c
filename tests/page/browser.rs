//! A real browser without a window: Chromium, spoken to in its own protocol (`DevTools`), over a pipe.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Where else than by these names it may be.
pub(crate) const VARIABLE: &str = "VAULT_TRACER_CHROMIUM";
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// No window, nothing of its own on the network; root may not have its sandbox.
const FLAGS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
];

/// An answer that takes longer is none.
const LIMIT: Duration = Duration::from_mins(1);

/// The browser with one page.
pub(crate) struct Browser {
    child: Child,
    requests: ChildStdin,
    messages: Receiver<Value>,
    last: u64,
    session: Option<String>,
    /// What it told without being asked.
    events: Vec<Value>,
    _profile: TempDir,
}

/// The program, if there is one.
pub(crate) fn program() -> Option<PathBuf> {
    if let Some(given) = env::var_os(VARIABLE) {
        return Some(given.into());
    }
    let path = env::var_os("PATH")?;
    let places: Vec<_> = env::split_paths(&path).collect();
    let named = |name: &str| {
        places
            .iter()
            .map(|place| place.join(name))
            .find(|file| file.is_file())
    };
    NAMES.iter().find_map(|name| named(name))
}

impl Browser {
    /// Starts it.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let profile = tempfile::tempdir()?;
        // Its pipes are descriptors 3 and 4.
        let mut child = Command::new("sh")
            .args(["-c", "exec \"$0\" \"$@\" 3<&0 4>&1 0</dev/null 1>/dev/null"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let requests = child.stdin.take().context("piped")?;
        let answers = child.stdout.take().context("piped")?;
        let mut browser = Self {
            child,
            requests,
            messages: read(answers),
            last: 0,
            session: None,
            events: Vec::new(),
            _profile: profile,
        };
        let target = browser.ask("Target.createTarget", &json!({ "url": "about:blank" }))?;
        let target = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.ask("Target.attachToTarget", &target)?;
        browser.session = attached["sessionId"].as_str().map(ToOwned::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), &json!({}))?;
        }
        Ok(browser)
    }

    /// One call of the protocol.
    pub(crate) fn ask(&mut self, method: &str, parameters: &Value) -> Result<Value> {
        self.last += 1;
        let mut request = json!({ "id": self.last, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            request["sessionId"] = session.as_str().into();
        }
        let mut bytes = serde_json::to_vec(&request)?;
        bytes.push(0);
        self.requests.write_all(&bytes)?;
        loop {
            let message = self.messages.recv_timeout(LIMIT);
            let mut message = message.with_context(|| format!("no answer to {method}"))?;
            if message["id"] != self.last {
                self.events.push(message);
                continue;
            }
            ensure!(
                message.get("error").is_none(),
                "{method}: {}",
                message["error"]
            );
            return Ok(message["result"].take());
        }
    }

    /// The value of an expression in the page; of a promise, what becomes of it.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Result<Value> {
        let question =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut answer = self.ask("Runtime.evaluate", &question)?;
        if let Some(exception) = answer.get("exceptionDetails") {
            bail!("{expression}: {exception}");
        }
        Ok(answer["result"]["value"].take())
    }

    /// A number.
    pub(crate) fn number(&mut self, expression: &str) -> Result<f64> {
        let value = self.evaluate(expression)?;
        value
            .as_f64()
            .with_context(|| format!("{expression} is {value}"))
    }

    /// Opens a file, and waits until it is there.
    pub(crate) fn open(&mut self, page: &Path) -> Result<()> {
        self.events.clear();
        let opened = self.ask("Page.navigate", &json!({ "url": url(page) }))?;
        ensure!(opened.get("errorText").is_none(), "not opened: {opened}");
        let is_loaded = |event: &Value| event["method"] == "Page.loadEventFired";
        while !self.events.iter().any(is_loaded) {
            let event = self.messages.recv_timeout(LIMIT);
            self.events.push(event.context("the page does not load")?);
        }
        Ok(())
    }

    /// Makes it a screen of this width, by day or by night.
    pub(crate) fn screen(&mut self, width: u32, dark: bool) -> Result<()> {
        let size =
            json!({ "width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.ask("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.ask("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// Presses the mouse where the element is.
    pub(crate) fn click(&mut self, selector: &str) -> Result<()> {
        let place = format!(
            "(() => {{ const e = document.querySelector({selector:?}); e.scrollIntoView({{ block: 'center', behavior: 'instant' }});
             const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; }})()"
        );
        let place = self.evaluate(&place)?;
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({ "type": kind, "x": place[0], "y": place[1], "button": "left", "clickCount": 1 });
            self.ask("Input.dispatchMouseEvent", &event)?;
        }
        Ok(())
    }

    /// What went wrong in the page, and what it asked of others than its own file.
    pub(crate) fn complaints(&mut self, page: &Path) -> Result<Vec<String>> {
        // What was told before this answer has arrived.
        self.evaluate("0")?;
        let own = url(page);
        let is_complaint = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown" | "Runtime.consoleAPICalled" | "Log.entryAdded") => true,
            Some("Network.requestWillBeSent") => {
                event["params"]["request"]["url"].as_str() != Some(&*own)
            }
            _ => false,
        };
        let complaints = self.events.iter().filter(is_complaint);
        Ok(complaints.map(ToString::to_string).collect())
    }

    /// The page as a picture, from its top to so many pixels below.
    pub(crate) fn picture(&mut self, width: u32, height: u32, file: &Path) -> Result<()> {
        let clip = json!({ "x": 0, "y": 0, "width": width, "height": height, "scale": 1 });
        let how = json!({ "captureBeyondViewport": true, "clip": clip });
        let picture = self.ask("Page.captureScreenshot", &how)?;
        write(&picture["data"], file)
    }

    /// The page on paper.
    pub(crate) fn print(&mut self, file: &Path) -> Result<()> {
        let printed = self.ask("Page.printToPDF", &json!({ "printBackground": true }))?;
        write(&printed["data"], file)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn url(page: &Path) -> String {
    format!("file://{}", page.display())
}

/// Messages end with a zero byte.
fn read(answers: ChildStdout) -> Receiver<Value> {
    let (send, messages) = mpsc::channel();
    thread::spawn(move || {
        for message in BufReader::new(answers).split(0).map_while(Result::ok) {
            let Ok(message) = serde_json::from_slice(&message) else {
                break;
            };
            if send.send(message).is_err() {
                break;
            }
        }
    });
    messages
}

fn write(base64: &Value, file: &Path) -> Result<()> {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let bytes = STANDARD.decode(base64.as_str().context("no data")?)?;
    Ok(fs::write(file, bytes)?)
}
