//! etcd's two calls, by hand: protobuf with two fields needs no generator.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::env::net;

/// A connection to etcd.
pub(super) struct Etcd {
    sender: SendRequest<Full<Bytes>>,
    authority: String,
}

impl Etcd {
    pub(super) async fn connect(address: &str) -> io::Result<Etcd> {
        let stream = net::connect(address).await?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        Ok(Etcd {
            sender,
            authority: address.to_owned(),
        })
    }

    pub(super) async fn put(&mut self, key: &str, value: &str) -> io::Result<()> {
        self.call("/etcdserverpb.KV/Put", &[key, value]).await
    }

    /// A linearizable range of one key.
    pub(super) async fn get(&mut self, key: &str) -> io::Result<()> {
        self.call("/etcdserverpb.KV/Range", &[key]).await
    }

    async fn call(&mut self, path: &str, fields: &[&str]) -> io::Result<()> {
        let request = Request::post(format!("http://{}{path}", self.authority))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(message(fields)))
            .map_err(io::Error::other)?;
        self.sender.ready().await.map_err(io::Error::other)?;
        let response = self
            .sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let early = response.headers().get("grpc-status").cloned();
        let body = response.into_body().collect().await.map_err(io::Error::other)?;
        let late = body
            .trailers()
            .and_then(|trailers| trailers.get("grpc-status"))
            .cloned();
        match late.or(early) {
            Some(status) if status == "0" => Ok(()),
            status => Err(io::Error::other(format!("etcd answered {status:?}"))),
        }
    }
}

/// Fields 1, 2, … as strings, behind gRPC's five bytes.
fn message(fields: &[&str]) -> Bytes {
    let mut body = BytesMut::new();
    for (number, field) in fields.iter().enumerate() {
        body.put_u8(((number + 1) << 3) as u8 | 2);
        let mut length = field.len();
        while length >= 0x80 {
            body.put_u8(length as u8 | 0x80);
            length >>= 7;
        }
        body.put_u8(length as u8);
        body.put_slice(field.as_bytes());
    }
    let mut framed = BytesMut::with_capacity(5 + body.len());
    framed.put_u8(0);
    framed.put_u32(body.len() as u32);
    framed.put_slice(&body);
    framed.freeze()
}
