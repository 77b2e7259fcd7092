//! A client of chromedriver: the few commands of WebDriver (<https://www.w3.org/TR/webdriver2/>) that the tests need.

use std::{
    env, fs,
    io::{self, Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::ChildStdout,
    time::timeout,
};

/// How long chromedriver looks for an element until it gives up. Only a test that fails takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The key, as WebDriver writes it.
pub(crate) const ENTER: char = '\u{e007}';

/// The name of an element's id in JSON (section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// How Chromium runs: without a screen, also as root and in a container, with no traffic of its own. Its user data are
/// in a new folder each time, which is what chromedriver does unless told otherwise.
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1200,800",
];

/// A Chromium of its own, which ends with the value.
pub(crate) struct Browser {
    driver: Driver,
    session: String,
}

/// A running chromedriver.
struct Driver {
    process: Child,
    port: u16,
    /// Where it and the browser keep their files.
    folder: PathBuf,
    /// It says where it listens. Whoever stops reading ends it as soon as it has something to say.
    output: Lines<BufReader<ChildStdout>>,
}

/// A window of it.
pub(crate) struct Window<'a> {
    browser: &'a Browser,
    handle: String,
}

/// Something in a window.
pub(crate) struct Element(String);

impl Browser {
    pub(crate) async fn start() -> Self {
        let driver = Driver::start().await;
        let capabilities = json!({
            "goog:chromeOptions": { "args": ARGUMENTS },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "implicit": PATIENCE.as_millis() },
        });
        let body = json!({ "capabilities": { "alwaysMatch": capabilities } });
        let answer = driver.call(Method::POST, "/session", body).await.expect("Chromium starts");
        let session = answer["sessionId"].as_str().unwrap().to_owned();
        Self { driver, session }
    }

    /// A new window with a page.
    pub(crate) async fn open(&self, url: &str) -> Window<'_> {
        let window = self.post("/window/new", json!({ "type": "window" })).await.unwrap();
        let window = Window { browser: self, handle: window["handle"].as_str().unwrap().to_owned() };
        window.post("/url", json!({ "url": url })).await.unwrap();
        window
    }

    /// What has been complained of in the consoles of all windows.
    pub(crate) async fn errors(&self) -> Vec<String> {
        let mut errors = Vec::new();
        let handles = self.call(Method::GET, "/window/handles", Value::Null).await.unwrap();
        for handle in handles.as_array().unwrap() {
            self.post("/window", json!({ "handle": handle })).await.unwrap();
            // Not in the standard; chromedriver has it from Selenium.
            let log = self.post("/se/log", json!({ "type": "browser" })).await.unwrap();
            let log = log.as_array().unwrap().iter().filter(|entry| entry["level"] == "SEVERE");
            errors.extend(log.map(|entry| entry["message"].to_string()));
        }
        errors
    }

    async fn post(&self, command: &str, body: Value) -> Result<Value, String> {
        self.call(Method::POST, command, body).await
    }

    async fn call(&self, method: Method, command: &str, body: Value) -> Result<Value, String> {
        self.driver.call(method, &format!("/session/{}{command}", self.session), body).await
    }
}

impl Window<'_> {
    /// Waits for an element, in XPath, and is a failure that shows the window if it does not come.
    pub(crate) async fn find(&self, xpath: &str) -> Element {
        match self.post("/element", json!({ "using": "xpath", "value": xpath })).await {
            Ok(element) => Element(element[ELEMENT].as_str().unwrap().to_owned()),
            Err(error) => {
                let shown = self.run("return document.body.innerText").await;
                panic!("{error}\nthe window shows: {}", shown.as_str().unwrap_or_default());
            }
        }
    }

    pub(crate) async fn click(&self, element: &Element) {
        self.post(&format!("/element/{}/click", element.0), json!({})).await.unwrap();
    }

    pub(crate) async fn clear(&self, element: &Element) {
        self.post(&format!("/element/{}/clear", element.0), json!({})).await.unwrap();
    }

    pub(crate) async fn keys(&self, element: &Element, text: &str) {
        self.post(&format!("/element/{}/value", element.0), json!({ "text": text })).await.unwrap();
    }

    pub(crate) async fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({ "script": script, "args": [] })).await.unwrap()
    }

    pub(crate) async fn reload(&self) {
        self.post("/refresh", json!({})).await.unwrap();
    }

    pub(crate) async fn close(self) {
        self.switch().await;
        self.browser.call(Method::DELETE, "/window", Value::Null).await.unwrap();
    }

    async fn post(&self, command: &str, body: Value) -> Result<Value, String> {
        self.switch().await;
        self.browser.post(command, body).await
    }

    /// Commands go to the window that was switched to last.
    async fn switch(&self) {
        self.browser.post("/window", json!({ "handle": self.handle })).await.unwrap();
    }
}

impl Driver {
    async fn start() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // In the system's folder because Chromium has sockets there, whose names must not be long.
        let folder = env::temp_dir().join(format!("tok-browser-{}-{count}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .env("TMPDIR", &folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("there is no chromedriver; `cargo xtask browser` installs it");
        let output = ChildStdout::from_std(process.stdout.take().unwrap()).unwrap();
        let mut driver = Self { process, port: 0, folder, output: BufReader::new(output).lines() };
        driver.port = timeout(PATIENCE, driver.listening_port()).await.expect("chromedriver starts");
        driver
    }

    async fn listening_port(&mut self) -> u16 {
        loop {
            let line = self.output.next_line().await.unwrap().expect("chromedriver says where it listens");
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                return port.trim_end_matches('.').parse().unwrap();
            }
        }
    }

    /// A command and its result (section 6), each on a connection of its own.
    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .body(Full::<Bytes>::from(body))
            .unwrap();
        let answer = async {
            let stream = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await.unwrap();
            let (mut http, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let answer = http.send_request(request).await.unwrap();
            let success = answer.status().is_success();
            (success, answer.into_body().collect().await.unwrap().to_bytes())
        };
        let (success, answer) =
            timeout(2 * PATIENCE, answer).await.map_err(|_| format!("no answer to {path}"))?;
        let mut answer: Value = serde_json::from_slice(&answer).unwrap();
        let value = answer["value"].take();
        if success { Ok(value) } else { Err(value["message"].to_string()) }
    }

    /// Ends chromedriver, and with it the browser and its files.
    fn shut_down(&self) -> io::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // Not in the standard, which ends sessions only.
        stream.write_all(b"GET /shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        stream.read(&mut [0; 1]).map(drop)
    }
}

impl Drop for Driver {
    /// A test that fails cannot await anything, so this blocks.
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            eprintln!("Chromium may still run: {error}");
            let _ = self.process.kill();
        }
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
