//! Requests that were damaged on their way, by the hundred: none of them hurts the node.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rig::{PATIENCE, Rig};
use crate::web::get;

const REQUESTS: u32 = 400;

/// Good requests of all kinds, to begin with.
const GOOD: [&str; 4] = [
    "POST /oauth2/introspect HTTP/1.1\r\nHost: n\r\nConnection: close\r\nAuthorization: Basic \
     d2ViOndyb25n\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 27\r\n\r\n\
     token=jrt_%41%42&hint=a+b+c",
    "POST /t/acme/oauth2/revoke HTTP/1.1\r\nHost: n\r\nConnection: close\r\nContent-Type: \
     application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n\
     7\r\ntoken=a\r\n0\r\n\r\n",
    "POST /v1/TokenService/GetFamily HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\
     Jeton-Deadline-Ms: 500\r\nContent-Type: application/json\r\nContent-Length: 57\r\n\r\n\
     {\"tenant\":\"acme\",\"familyId\":\"AQEBAQEBAQEBAQEBAQEBAQ==\"}  ",
    "GET /metrics HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n",
];

/// Numbers that look random, and are the same every time (Knuth's MMIX).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % bound
    }
}

/// Some bytes changed, taken out, or put in twice.
fn damaged(good: &str, numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = good.as_bytes().to_vec();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(bytes.len());
        match numbers.below(4) {
            0 => bytes[at] = u8::try_from(numbers.below(256)).expect("a byte"),
            1 => bytes.truncate(at.max(1)),
            2 => drop(bytes.remove(at)),
            _ => {
                let until = at + numbers.below(bytes.len() - at);
                let again = bytes[at..until].to_vec();
                bytes.splice(at..at, again);
            }
        }
        if bytes.is_empty() {
            bytes.push(b'x');
        }
    }
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_requests_hurt_nobody() {
    let rig = Rig::start().await;
    let mut numbers = Numbers(7);
    let mut answered = 0;
    for number in 0..REQUESTS {
        let bytes = damaged(GOOD[number as usize % GOOD.len()], &mut numbers);
        let mut stream = TcpStream::connect(rig.addr).await.expect("a connection");
        let exchange = async {
            // The node may close as soon as it has seen enough.
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer).await;
            answer
        };
        let answer = timeout(PATIENCE, exchange).await.expect("the connection ends");
        let shown = || String::from_utf8_lossy(&bytes).into_owned();
        if let Some(status) = answer.strip_prefix(b"HTTP/1.1 ") {
            answered += 1;
            assert!(!status.starts_with(b"500"), "{:?}", (shown(), answer));
        }
    }
    assert!(answered > REQUESTS / 2, "only {answered} were answered: too damaged to test anything");
    assert_eq!(get(rig.addr, "/livez").await.status, 200);
    rig.family(1).await;
    rig.stop().await;
}
