//! A consumer, as a test plays one.

use std::{net::SocketAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderValue, header};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use super::DEADLINE;

/// What the tests' nodes want to be shown.
pub(super) const TOKEN: &str = "s3cret";

/// Nothing comes for so long: nothing will.
const QUIET: Duration = Duration::from_millis(300);

pub(super) struct Consumer(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Consumer {
    /// A connection that has been greeted, or `None` where it was refused.
    pub(super) async fn try_connect(address: SocketAddr, token: &str) -> Option<Self> {
        let url = format!("ws://{address}/bot/v1");
        let shown = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header's value");
        let builder = ClientBuilder::new().uri(&url).expect("a URL");
        let builder = builder.add_header(header::AUTHORIZATION, shown).expect("it is allowed");
        let (socket, _) = timeout(DEADLINE, builder.connect()).await.expect("an answer").ok()?;
        let mut consumer = Self(socket);
        let hello = consumer.hear().await?;
        assert_eq!((&hello["type"], &hello["protocol"]), (&"hello".into(), &1.into()));
        Some(consumer)
    }

    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address, TOKEN).await.expect("the token is right")
    }

    pub(super) async fn say(&mut self, frame: &Value) {
        self.say_raw(Message::text(frame.to_string())).await;
    }

    /// Whether it goes out is the test's business.
    pub(super) async fn say_raw(&mut self, message: Message) {
        let _ = timeout(DEADLINE, self.0.send(message)).await.expect("it is read");
    }

    /// The next frame; `None` where the connection has ended.
    pub(super) async fn hear(&mut self) -> Option<Value> {
        timeout(DEADLINE, self.next()).await.expect("a frame, or the end")
    }

    /// The next frame, or `None` where none comes soon.
    pub(super) async fn hear_soon(&mut self) -> Option<Value> {
        timeout(QUIET, self.next()).await.ok().flatten()
    }

    /// Says something under an id, and waits for the answer.
    pub(super) async fn ask(&mut self, mut frame: Value) -> Value {
        frame["id"] = "ask".into();
        self.say(&frame).await;
        self.until("an answer", |told| told["id"] == "ask").await
    }

    /// The first frame of this kind; others are passed over.
    pub(super) async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let waited = async {
            loop {
                match self.next().await {
                    Some(told) if wanted(&told) => return told,
                    Some(_) => {}
                    None => panic!("the connection ended before {what}"),
                }
            }
        };
        timeout(DEADLINE, waited).await.unwrap_or_else(|_| panic!("never came: {what}"))
    }

    /// Whether the closing is answered.
    pub(super) async fn close(mut self) -> bool {
        self.say_raw(Message::close(None, "")).await;
        let answered = async {
            while let Some(Ok(message)) = self.0.next().await {
                if message.is_close() {
                    return true;
                }
            }
            false
        };
        timeout(DEADLINE, answered).await.expect("an end")
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            let message = self.0.next().await?.ok()?;
            if message.is_close() {
                return None;
            }
            if let Some(text) = message.as_text() {
                return Some(serde_json::from_str(text).expect("frames are JSON"));
            }
        }
    }
}
