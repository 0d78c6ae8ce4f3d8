//! Servers that answer what no vault answers: too much, too late, half of it, or what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use eparch_domain::{BreakerState, Name, Span, Tier, limits};
use eparch_vault::{
    Accessor, ChildGrant, Guarded, Hashicorp, Reader, RunGrant, Secret, SecretPath, Settings, Token, Vault,
    VaultError,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::home::{HOUR, MINUTE, agent, clock, fields, run};

/// What a server does with a request, once it has read it.
#[derive(Clone)]
enum Does {
    /// Sends these bytes and closes.
    Sends(Arc<Vec<u8>>),
    /// Answers with a status, and says back what it was sent; to whoever logs in as well, or not.
    Echoes { status: u16, logins: bool },
    /// Sends these bytes and then nothing more, without closing.
    Stalls(Arc<Vec<u8>>),
    /// Closes.
    Closes,
}

/// A server on this machine that lets anybody log in, and does the one thing with every other request.
struct Odd {
    vault: Hashicorp,
    requests: Arc<AtomicUsize>,
    port: u16,
}

const ROLE: &str = "canary-role-4141414141";
const SECRET_ID: &str = "canary-secret-id-4242424242";
const OWN_TOKEN: &str = "canary-own-token-4343434343";

async fn odd(does: Does) -> Odd {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, does.clone(), Arc::clone(&count)));
        }
    });
    let settings = Settings {
        address: Some(format!("http://127.0.0.1:{port}")),
        role_id: Some(ROLE.to_owned()),
        secret_id: Some(SECRET_ID.into()),
        connect_timeout: Span::from_millis(500),
        timeout: Span::from_millis(500),
        ..Settings::default()
    };
    Odd { vault: Hashicorp::new(&settings, Name::new("home").unwrap()).unwrap(), requests, port }
}

async fn serve(mut stream: TcpStream, does: Does, requests: Arc<AtomicUsize>) {
    let Some(request) = request(&mut stream).await else { return };
    if request.starts_with("POST /v1/auth/approle/login")
        && !matches!(does, Does::Echoes { logins: true, .. })
    {
        let login = format!(
            "{{\"auth\":{{\"client_token\":\"{OWN_TOKEN}\",\"accessor\":\"a\",\"policies\":[],\"lease_duration\":3600}}}}"
        );
        let _ = stream.write_all(&answer(200, &login)).await;
        return;
    }
    requests.fetch_add(1, Ordering::SeqCst);
    match does {
        Does::Sends(bytes) => {
            let _ = stream.write_all(&bytes).await;
        }
        Does::Echoes { status, .. } => {
            let said = serde_json::json!({ "errors": [request], "data": { "keys": request } });
            let _ = stream.write_all(&answer(status, &said.to_string())).await;
        }
        Does::Stalls(bytes) => {
            let _ = stream.write_all(&bytes).await;
            // Until the other side has had enough.
            let _ = stream.read(&mut [0; 1]).await;
        }
        Does::Closes => {}
    }
}

/// A request to its end.
async fn request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&read).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase().strip_prefix("content-length: ").map(str::to_owned)
            });
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    }
}

fn answer(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn path() -> SecretPath {
    SecretPath::new("inventory/hosts").unwrap()
}

async fn asked(odd: &Odd) -> VaultError {
    odd.vault.read(Reader::Daemon, &path(), None).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let head = "HTTP/1.1 200 x\r\ncontent-length: 1000000000\r\n\r\n";
    let endless = [head.as_bytes(), &vec![b'x'; limits::VAULT_ANSWER_BYTES + 1]].concat();
    let told = asked(&odd(Does::Stalls(Arc::new(endless))).await).await;
    assert!(matches!(told, VaultError::Malformed { why: "it is too long", .. }), "{told:?}");
    let head = [b"HTTP/1.1 200 x\r\nx: ".as_slice(), &vec![b'x'; 1 << 20]].concat();
    let told = asked(&odd(Does::Stalls(Arc::new(head))).await).await;
    assert!(matches!(told, VaultError::Malformed { .. }), "{told:?}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_told_from_one_that_broke() {
    type Case = (Does, fn(&VaultError) -> bool);
    let cases: [Case; 7] = [
        (Does::Closes, |told| matches!(told, VaultError::CutOff { .. })),
        (Does::Sends(Arc::new(b"hello".to_vec())), |told| matches!(told, VaultError::Malformed { .. })),
        (Does::Sends(Arc::new(b"HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\n{".to_vec())), |told| {
            matches!(told, VaultError::CutOff { .. })
        }),
        (Does::Sends(Arc::new(answer(200, "<html>"))), |told| matches!(told, VaultError::Malformed { .. })),
        (Does::Sends(Arc::new(answer(200, "{\"data\":null}"))), |told| {
            matches!(told, VaultError::Malformed { .. })
        }),
        (Does::Sends(Arc::new(answer(204, ""))), |told| {
            matches!(told, VaultError::Refused { status: 204, .. })
        }),
        (Does::Sends(Arc::new(answer(503, "{\"errors\":[\"Vault is sealed\"]}"))), |told| {
            matches!(told, VaultError::Sealed)
        }),
    ];
    for (does, is_told) in cases {
        let told = asked(&odd(does).await).await;
        assert!(is_told(&told), "{told:?}");
    }
}

#[tokio::test]
async fn whoever_does_not_answer_is_given_up_in_time() {
    for begun in ["", "HTTP/1.1 200 x\r\n", "HTTP/1.1 200 x\r\ncontent-length: 9\r\n\r\n{"] {
        let odd = odd(Does::Stalls(Arc::new(begun.as_bytes().to_vec()))).await;
        let begun = Instant::now();
        let told = asked(&odd).await;
        assert!(matches!(told, VaultError::TimedOut { .. }) && told.is_retryable(), "{told:?}");
        // Far from for ever; what a loaded machine adds is not held against it.
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
}

#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let elsewhere = odd(Does::Closes).await;
    let to = format!("http://127.0.0.1:{}/v1/secret/data/inventory/hosts", elsewhere.port);
    for status in [301, 302, 303, 307, 308] {
        let answer = format!("HTTP/1.1 {status} x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n");
        let told = asked(&odd(Does::Sends(Arc::new(answer.into_bytes()))).await).await;
        assert!(matches!(told, VaultError::Refused { status: found, .. } if found == status), "{told:?}");
    }
    assert_eq!(elsewhere.requests.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_may_be_done_once_is_asked_for_once() {
    let odd = odd(Does::Closes).await;
    let issued = odd.vault.issue_run(RunGrant { run: run(), tier: Tier::T0, ttl: HOUR }).await;
    assert!(matches!(issued, Err(VaultError::CutOff { .. })), "{issued:?}");
    assert_eq!(
        odd.requests.load(Ordering::SeqCst),
        1,
        "whether it was done is not known, so it is not done again"
    );
}

/// R268, through the vault: the fifth failure in a row is the last that is waited for; then one call a time looks whether it is
/// back.
#[tokio::test]
async fn r268_a_server_that_fails_is_left_alone_and_tried_by_one_call() {
    let odd = odd(Does::Closes).await;
    let (requests, clock) = (odd.requests.clone(), clock());
    let asked = || requests.load(Ordering::SeqCst);
    let vault = Guarded::new(odd.vault, clock.clone());
    for _ in 0..limits::BREAKER_FAILURES {
        assert_eq!(vault.breaker(), BreakerState::Closed);
        let told = vault.revoke(&Accessor::new("a").unwrap()).await.unwrap_err();
        assert!(matches!(told, VaultError::CutOff { .. }), "{told:?}");
    }
    let before = asked();
    let told = vault.read(Reader::Daemon, &path(), None).await.unwrap_err();
    assert!(matches!(told, VaultError::LeftAlone { left } if left == limits::BREAKER_OPEN), "{told:?}");
    assert!(told.is_retryable());
    assert_eq!((vault.breaker(), asked()), (BreakerState::Open, before), "nobody was asked");
    let _ = vault.health().await;
    assert!(asked() > before, "how it is can always be asked");
    clock.advance(limits::BREAKER_OPEN);
    assert_eq!(vault.breaker(), BreakerState::HalfOpen);
    let told = vault.read(Reader::Daemon, &path(), None).await.unwrap_err();
    assert!(matches!(told, VaultError::CutOff { .. }), "the probe: {told:?}");
    assert_eq!(vault.breaker(), BreakerState::Open);
}

/// A refusal is an answer: whoever is refused learns so each time, however often.
#[tokio::test]
async fn r268_whoever_refuses_is_well() {
    let odd = odd(Does::Sends(Arc::new(answer(403, "{\"errors\":[\"permission denied\"]}")))).await;
    let vault = Guarded::new(odd.vault, clock());
    for _ in 0..3 * limits::BREAKER_FAILURES {
        let told = vault.read(Reader::Daemon, &path(), None).await.unwrap_err();
        assert!(!matches!(told, VaultError::LeftAlone { .. }), "{told:?}");
    }
    assert_eq!(vault.breaker(), BreakerState::Closed);
}

/// A call that nobody waits for any more while it is the probe does not keep the others out for good.
#[tokio::test]
async fn r268_a_probe_that_is_dropped_leaves_room_for_another() {
    let odd = odd(Does::Closes).await;
    let clock = clock();
    let vault = Guarded::new(odd.vault, clock.clone());
    for _ in 0..limits::BREAKER_FAILURES {
        vault.read(Reader::Daemon, &path(), None).await.unwrap_err();
    }
    clock.advance(limits::BREAKER_OPEN);
    let elsewhere = path();
    let mut probe = vault.read(Reader::Daemon, &elsewhere, None);
    let begins = std::future::poll_fn(|context| Poll::Ready(probe.as_mut().poll(context).is_pending())).await;
    assert!(begins, "nothing can have come of it yet");
    drop(probe);
    let told = vault.read(Reader::Daemon, &path(), None).await.unwrap_err();
    assert!(matches!(told, VaultError::CutOff { .. }), "the next one tries: {told:?}");
}

/// F18: whatever was sent and whatever comes back, an error shows none of it.
#[tokio::test]
async fn g8_no_error_repeats_what_was_sent_or_answered() {
    let mut told = 0;
    let statuses = [200, 204, 301, 400, 403, 404, 405, 412, 429, 500, 502, 503];
    for (status, logins) in statuses.into_iter().flat_map(|status| [(status, false), (status, true)]) {
        let odd = odd(Does::Echoes { status, logins }).await;
        let vault = &odd.vault;
        for number in 0..2u64 {
            let canary = format!("canary-{number}-{}", 4_111_111_111_111_111u64.wrapping_add(number * 7_919));
            let token = Token::new(Secret::from(canary.as_str()));
            let accessor = Accessor::new(&canary).unwrap();
            let child = ChildGrant { agent: agent(), tier: Tier::T0, ttl: MINUTE };
            let fields = fields(&[("password", &canary), ("pin", &canary)]);
            let shown = [
                format!("{:?}", vault.health().await),
                format!("{:?}", vault.issue_run(RunGrant { run: run(), tier: Tier::T0, ttl: HOUR }).await),
                format!("{:?}", vault.issue_child(&token, child).await),
                format!("{:?}", vault.lookup(&accessor).await),
                format!("{:?}", vault.renew(&accessor, HOUR).await),
                format!("{:?}", vault.revoke(&accessor).await),
                format!("{:?}", vault.find(None).await),
                format!("{:?}", vault.read(Reader::Token(&token), &path(), None).await),
                format!("{:?}", vault.write(&path(), fields.clone(), Some(1)).await),
                format!("{:?}", vault.wrap(&token, &path(), MINUTE).await),
                format!("{:?}", vault.unwrap(&token).await),
                format!("{:?}", vault.set_up(&token).await),
                format!("{:?}", vault.write(&path(), fields, None).await.map_err(|error| error.to_string())),
                format!("{vault:?}"),
            ];
            for shown in shown {
                for secret in [canary.as_str(), ROLE, SECRET_ID, OWN_TOKEN, "X-Vault-Token", "x-vault-token"]
                {
                    assert!(!shown.contains(secret), "{status}: {shown}");
                }
                told += 1;
            }
        }
    }
    assert!(told >= 500, "{told}");
}
