//! A TURN server over TCP for tests: one user, no timers.

use super::turn::{read_frames, write_frames};
use std::collections::HashMap;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;
use turn_client_proto::types::attribute::{ChannelNumber, Data, Lifetime, XorPeerAddress, XorRelayedAddress};
use turn_client_proto::types::message::{ALLOCATE, CHANNEL_BIND, REFRESH};
use turn_client_proto::types::stun::attribute::{ErrorCode, Nonce, Realm, Username};
use turn_client_proto::types::stun::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageWriteVec,
};
use turn_client_proto::types::stun::prelude::{MessageWrite, MessageWriteExt};

pub(super) const USER: &str = "user";
pub(super) const PASSWORD: &str = "password";
const REALM: &str = "test";

/// Starts the server. For each client that goes away it sends what it saw: `true` when the client gave its address back.
pub(super) async fn start() -> (SocketAddr, mpsc::Receiver<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (ended, end) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let ended = ended.clone();
            tokio::spawn(async move { ended.send(serve(stream).await).await });
        }
    });
    (address, end)
}

/// Serves one client until it goes away; true when it gave its address back.
async fn serve(stream: TcpStream) -> bool {
    let (reader, writer) = stream.into_split();
    let (deliver, mut messages) = mpsc::channel(64);
    let (out, queue) = mpsc::channel(64);
    tokio::spawn(read_frames(reader, deliver));
    tokio::spawn(write_frames(writer, queue));
    let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut server = Server { relayed: relay.local_addr().unwrap(), channels: HashMap::new(), given_back: false };
    let mut buffer = [0; 2048];
    loop {
        tokio::select! {
            message = messages.recv() => {
                let Some(message) = message else { return server.given_back };
                if message[0] >> 6 == 1 {
                    let peer = server.channels[&u16::from_be_bytes([message[0], message[1]])];
                    relay.send_to(&message[4..], peer).await.unwrap();
                    continue;
                }
                let message = Message::from_bytes(&message).unwrap();
                if message.has_class(MessageClass::Indication) {
                    let peer = message.attribute::<XorPeerAddress>().unwrap().addr(message.transaction_id());
                    relay.send_to(message.attribute::<Data>().unwrap().data(), peer).await.unwrap();
                } else {
                    let _ = out.send(server.answer(&message)).await;
                }
            }
            received = relay.recv_from(&mut buffer) => {
                let Ok((len, from)) = received else { continue };
                // Without a channel there is no permission: dropped.
                if let Some((channel, _)) = server.channels.iter().find(|(_, peer)| **peer == from) {
                    let header = [channel.to_be_bytes(), (len as u16).to_be_bytes()].concat();
                    let _ = out.send([&header, &buffer[..len]].concat()).await;
                }
            }
        }
    }
}

struct Server {
    relayed: SocketAddr,
    channels: HashMap<u16, SocketAddr>,
    given_back: bool,
}

impl Server {
    fn answer(&mut self, request: &Message) -> Vec<u8> {
        let credentials = LongTermKeyCredentials::new(USER.into(), PASSWORD.into(), REALM.into()).into();
        if request.attribute::<Username>().is_err() || request.validate_integrity(&credentials).is_err() {
            let mut refusal = Message::builder_error(request, MessageWriteVec::new());
            refusal.add_attribute(&Realm::new(REALM).unwrap()).unwrap();
            refusal.add_attribute(&Nonce::new("nonce").unwrap()).unwrap();
            refusal.add_attribute(&ErrorCode::builder(ErrorCode::UNAUTHORIZED).build().unwrap()).unwrap();
            return refusal.finish();
        }
        let mut answer = Message::builder_success(request, MessageWriteVec::new());
        match request.method() {
            ALLOCATE => {
                answer.add_attribute(&XorRelayedAddress::new(self.relayed, request.transaction_id())).unwrap();
                answer.add_attribute(&Lifetime::new(600)).unwrap();
            }
            CHANNEL_BIND => {
                let channel = request.attribute::<ChannelNumber>().unwrap().channel();
                let peer = request.attribute::<XorPeerAddress>().unwrap().addr(request.transaction_id());
                self.channels.insert(channel, peer);
            }
            REFRESH => {
                let lifetime = request.attribute::<Lifetime>().unwrap().seconds();
                self.given_back |= lifetime == 0;
                answer.add_attribute(&Lifetime::new(lifetime)).unwrap();
            }
            _ => {}
        }
        answer.add_message_integrity(&credentials, IntegrityAlgorithm::Sha1).unwrap();
        answer.finish()
    }
}
