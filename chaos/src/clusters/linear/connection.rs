//! One HTTP connection to a node's key-value store, kept open.

use std::{io, net::SocketAddr};

use apolo::{
    http::{KvDone, KvRequest, KvRow},
    kv::UserRefusal,
};
use serde::{Deserialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream},
    net::TcpStream,
};

use super::super::nodes::API_TOKEN;
use crate::linear::{Answer, Ask, Held, Row};

/// More than an answer to these clients has.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// What a node has said.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Said {
    /// What became of it.
    Done(Answer),
    /// That nothing happened.
    Nothing,
    /// That it does not know.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Connection(BufStream<TcpStream>);

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufStream::new(stream)))
    }

    /// Asks, and returns the status and the body. Behind an error the connection is of no use.
    pub(super) async fn ask(&mut self, request: &KvRequest) -> io::Result<(u16, Vec<u8>)> {
        let body = serde_json::to_vec(request)?;
        let head = format!(
            "POST /api/v1/kv HTTP/1.1\r\nHost: apolo\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nAuthorization: Bearer {API_TOKEN}\r\n\r\n",
            body.len()
        );
        self.0.write_all(head.as_bytes()).await?;
        self.0.write_all(&body).await?;
        self.0.flush().await?;
        let malformed = || io::Error::from(io::ErrorKind::InvalidData);
        let status = self.line().await?;
        let status = status.split(' ').nth(1).and_then(|it| it.parse().ok());
        let status = status.ok_or_else(malformed)?;
        let mut length = None;
        loop {
            let line = self.line().await?.to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
        let length: usize = length.filter(|it| *it <= BODY_BYTES_MAX).ok_or_else(malformed)?;
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((status, body))
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// What an answer means, taken by its word. One that can't be understood is an error, so that none is left out.
pub(super) fn understand(ask: &Ask, status: u16, body: &[u8]) -> io::Result<Said> {
    let understood = match status {
        200 => done(ask, body).map(Said::Done),
        409 => problem(body).and_then(|why| conflict(&why)),
        503 => problem(body).map(|_| Said::Nothing),
        504 => problem(body).map(|_| Said::Unknown),
        _ => None,
    };
    understood.ok_or_else(|| {
        let body = String::from_utf8_lossy(body);
        io::Error::other(format!("{ask:?} was answered with {status} {body}"))
    })
}

fn done(ask: &Ask, body: &[u8]) -> Option<Answer> {
    Some(match ask {
        Ask::Get => Answer::Row(match parse::<Option<KvRow>>(body)? {
            None => None,
            Some(row) => Some(self::row(row)?),
        }),
        Ask::Put { .. } => Answer::Put { revision: parse::<KvDone>(body)?.revision? },
        Ask::Delete { .. } => Answer::Deleted { revision: parse::<KvDone>(body)?.revision },
        Ask::Increment { .. } => {
            let done: KvDone = parse(body)?;
            Answer::Counted { revision: done.revision?, number: done.number? }
        }
    })
}

fn row(row: KvRow) -> Option<Row> {
    let held = match (row.value, row.number) {
        (Some(value), None) => Held::Text(String::from_utf8(value.bytes()?).ok()?),
        (None, Some(number)) => Held::Number(number),
        _ => return None,
    };
    Some(Row { held, created: row.created, modified: row.modified })
}

fn conflict(why: &str) -> Option<Said> {
    if why == UserRefusal::Overtaken.to_string() {
        return Some(Said::Nothing);
    }
    let digits = |c: char| c.is_ascii_digit();
    let number = why.split(|c| !digits(c)).find(|it| !it.is_empty());
    let current = number.and_then(|number| number.parse().ok());
    let mismatch = UserRefusal::Mismatch { current }.to_string();
    (why == mismatch).then_some(Said::Done(Answer::Mismatch { current }))
}

fn problem(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        error: String,
    }
    parse::<Problem>(body).map(|problem| problem.error)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::linear::Expected;

    fn understood(ask: &Ask, status: u16, body: &str) -> Option<Said> {
        understand(ask, status, body.as_bytes()).ok()
    }

    #[test]
    fn an_answer_is_taken_by_its_word() {
        let put = Ask::Put { value: "a".to_owned(), expected: Expected::Absent };
        let problem = |error: String| format!(r#"{{"error":{:?}}}"#, error);
        let mismatch = |current| problem(UserRefusal::Mismatch { current }.to_string());

        for current in [Some(17), None] {
            let said = Said::Done(Answer::Mismatch { current });
            assert_eq!(understood(&put, 409, &mismatch(current)), Some(said));
        }
        let done = Said::Done(Answer::Put { revision: 5 });
        let body = r#"{"revision":5,"number":null,"token":null}"#;
        assert_eq!(understood(&put, 200, body), Some(done));
        for (status, said) in [(503, Said::Nothing), (504, Said::Unknown)] {
            let words = problem("whatever it says".to_owned());
            assert_eq!(understood(&put, status, &words), Some(said));
        }
        assert_eq!(understood(&Ask::Get, 200, "null"), Some(Said::Done(Answer::Row(None))));
    }

    #[test]
    fn an_answer_that_says_something_else_is_an_error() {
        let put = Ask::Put { value: "a".to_owned(), expected: Expected::Anything };

        for (status, body) in [
            (200, r#"{"revision":null,"number":null,"token":null}"#),
            (200, "null"),
            (409, r#"{"error":"no"}"#),
            (400, r#"{"error":"no"}"#),
            (503, "no"),
        ] {
            assert_eq!(understood(&put, status, body), None, "{status} {body}");
        }
    }
}
