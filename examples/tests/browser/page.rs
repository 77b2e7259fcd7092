//! What a person does in a window of the chat, and sees there.

use std::net::SocketAddr;

use serde_json::json;

use super::webdriver::{Browser, ENTER, Window};

/// A window in which somebody has signed in.
pub(crate) struct Page<'a>(Window<'a>);

impl<'a> Page<'a> {
    /// Opens a window.
    pub(crate) async fn open(browser: &'a Browser, addr: SocketAddr, path: &str) -> Self {
        Self(browser.open(&format!("http://{addr}{path}")).await)
    }

    /// Opens a window, and signs in with the form.
    pub(crate) async fn sign_in(browser: &'a Browser, addr: SocketAddr, name: &str) -> Self {
        let page = Self::open(browser, addr, "/").await;
        let input = page.0.find("//*[@data-testid='name-input']").await;
        page.0.clear(&input).await;
        page.0.keys(&input, &format!("{name}{ENTER}")).await;
        page.is_signed_in(name).await;
        page
    }

    pub(crate) async fn is_signed_in(&self, name: &str) {
        self.sees(&format!("*[@data-testid='me' and .='{name}']")).await;
        self.sees_status("online").await;
    }

    /// The name in the form that asks for one; `None` if the window does not ask.
    pub(crate) async fn asked_name(&self) -> Option<String> {
        let script =
            "return document.getElementById('login').hidden || !document.getElementById('app').hidden
                        ? null : document.getElementById('name-input').value";
        serde_json::from_value(self.0.run(script).await).unwrap()
    }

    pub(crate) async fn reload(&self) {
        self.0.reload().await;
    }

    /// Writes into the browser's storage what a page has kept under a name.
    pub(crate) async fn store(&self, name: &str, kept: &serde_json::Value) {
        let item = serde_json::Value::String(kept.to_string());
        self.0.run(&format!("localStorage.setItem('tok-chat:{name}', {item})")).await;
    }

    pub(crate) async fn close(self) {
        self.0.close().await;
    }

    /// Waits until somewhere in the page there is such an element, in XPath.
    pub(crate) async fn sees(&self, element: &str) {
        self.0.find(&format!("//{element}")).await;
    }

    pub(crate) async fn sees_status(&self, state: &str) {
        self.sees(&format!("*[@data-testid='status' and @data-state='{state}']")).await;
    }

    pub(crate) async fn sees_message(&self, from: &str, text: &str, state: &str) {
        let message = format!("@data-testid='message' and @data-from='{from}' and @data-state='{state}'");
        self.sees(&format!("*[{message}]/*[@data-testid='text' and .='{text}']")).await;
    }

    pub(crate) async fn click(&self, element: &str) {
        let element = self.0.find(&format!("//{element}")).await;
        self.0.click(&element).await;
    }

    /// Waits until a user's entry is as `condition` says, and clicks on it.
    pub(crate) async fn open_conversation(&self, name: &str, condition: &str) {
        self.click(&format!("*[@data-testid='user-{name}' and {condition}]")).await;
        self.sees(&format!("*[@data-testid='title' and .='{name}']")).await;
    }

    pub(crate) async fn join_room(&self, name: &str) {
        let input = self.0.find("//*[@data-testid='room-input']").await;
        self.0.keys(&input, name).await;
        self.click("*[@data-testid='room-submit']").await;
        self.sees(&format!("*[@data-testid='title' and .='# {name}']")).await;
    }

    pub(crate) async fn write(&self, text: &str) {
        let input = self.0.find("//*[@data-testid='message-input' and not(@disabled)]").await;
        self.0.keys(&input, &format!("{text}{ENTER}")).await;
    }

    /// All messages of the open conversation, as they stand there.
    pub(crate) async fn texts(&self) -> Vec<String> {
        let script = "return [...document.querySelectorAll('[data-testid=text]')].map((e) => e.textContent)";
        serde_json::from_value(self.0.run(script).await).unwrap()
    }

    /// Begins to keep account of the timers with a delay.
    pub(crate) async fn watch_timers(&self) {
        self.0
            .run(
                "const [set, clear] = [window.setTimeout, window.clearTimeout];
                 window.running = new Set();
                 window.setTimeout = (f, delay) => {
                   const id = set(() => { running.delete(id); f(); }, delay);
                   if (delay > 0) running.add(id);
                   return id;
                 };
                 window.clearTimeout = (id) => { running.delete(id); clear(id); };",
            )
            .await;
    }

    /// How many of those that were started since are still to run.
    pub(crate) async fn running_timers(&self) -> u64 {
        self.0.run("return running.size").await.as_u64().unwrap()
    }

    /// What a window hears when its user comes back to it, or its network does.
    pub(crate) async fn look_at(&self) {
        let heard = self.0.run(
            "document.dispatchEvent(new Event('visibilitychange'));
             window.dispatchEvent(new Event('online'));
             return document.visibilityState;",
        );
        assert_eq!(heard.await, json!("visible"), "the page does nothing while nobody sees it");
    }
}
