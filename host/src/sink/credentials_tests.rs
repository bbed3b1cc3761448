use std::sync::Mutex as Plain;
use std::sync::atomic::AtomicI64;
use std::time::UNIX_EPOCH;

use super::*;
use crate::env::World;

const SECOND: Micros = 1_000_000;

/// A clock that is set by hand.
#[derive(Default)]
struct Clock(AtomicI64);

impl World for Clock {
    fn now(&self) -> Micros {
        self.0.load(Ordering::Relaxed)
    }
    fn fresh_id(&self) -> String {
        String::new()
    }
}

/// Hands out keys that live until then, or none; counts how often it is asked.
#[derive(Clone, Debug, Default)]
struct Desk(Arc<Plain<(u32, Option<Micros>)>>);

impl ProvideCredentials for Desk {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let mut desk = self.0.lock().expect("the desk");
        desk.0 += 1;
        future::ProvideCredentials::ready(match desk.1 {
            None => Err(CredentialsError::not_loaded("closed")),
            Some(expiry) => {
                let expiry = UNIX_EPOCH + Duration::from_micros(u64::try_from(expiry).unwrap_or_default());
                Ok(Credentials::new(format!("KEY{}", desk.0), "secret", None, Some(expiry), "tests"))
            }
        })
    }
}

struct Shop {
    clock: Arc<Clock>,
    desk: Desk,
    chain: Chain,
}

impl Shop {
    fn new(expiry: Micros) -> Shop {
        let (clock, desk) = (Arc::new(Clock::default()), Desk::default());
        desk.0.lock().expect("the desk").1 = Some(expiry);
        let chain = Chain::new(SharedCredentialsProvider::new(desk.clone()), clock.clone());
        Shop { clock, desk, chain }
    }

    async fn key(&self, at: Micros) -> String {
        self.clock.0.store(at, Ordering::Relaxed);
        self.chain.get_credential().await.expect("keys").key_id.clone()
    }

    fn asked(&self) -> u32 {
        self.desk.0.lock().expect("the desk").0
    }
}

/// Whoever hands keys out may give the same ones until their last minutes, or seconds.
#[tokio::test]
async fn near_the_end_of_keys_not_every_request_asks_for_others() {
    let shop = Shop::new(3600 * SECOND);
    for second in 0..3600 {
        shop.key(second * SECOND).await;
        shop.key(second * SECOND + 1).await;
    }
    println!("{} look-ups for 7200 requests of an hour", shop.asked());
    assert!((2..=12).contains(&shop.asked()), "{}", shop.asked());
}

#[tokio::test]
async fn keys_are_renewed_before_they_expire() {
    let shop = Shop::new(3600 * SECOND);
    assert_eq!(shop.key(0).await, "KEY1");
    assert_eq!(shop.key(3299 * SECOND).await, "KEY1");
    shop.desk.0.lock().expect("the desk").1 = Some(7200 * SECOND);
    assert_eq!(shop.key(3300 * SECOND).await, "KEY2");
    assert_eq!(shop.key(3600 * SECOND).await, "KEY2");
}

#[tokio::test]
async fn a_desk_that_is_closed_is_not_asked_at_every_request() {
    let shop = Shop::new(3600 * SECOND);
    shop.key(0).await;
    shop.desk.0.lock().expect("the desk").1 = None;
    for second in 3300..3600 {
        assert_eq!(shop.key(second * SECOND).await, "KEY1");
    }
    println!("{} look-ups in the last five minutes", shop.asked() - 1);
    assert!((5..=30).contains(&shop.asked()), "{}", shop.asked());
    shop.clock.0.store(3600 * SECOND, Ordering::Relaxed);
    let error = shop.chain.get_credential().await.expect_err("expired, and no others");
    assert!(error.to_string().contains(NO_CREDENTIALS), "{error}");
}

#[tokio::test]
async fn keys_that_a_service_refuses_are_looked_up_anew_at_once_and_not_again_and_again() {
    let shop = Shop::new(3600 * SECOND);
    assert_eq!(shop.key(0).await, "KEY1");
    shop.chain.refused();
    assert_eq!(shop.key(5 * SECOND).await, "KEY2");
    assert_eq!(shop.key(5 * SECOND).await, "KEY2");
    // The service goes on refusing.
    for thousandth in 0..2000 {
        shop.chain.refused();
        shop.key(6 * SECOND + thousandth * 1000).await;
    }
    assert_eq!(shop.asked(), 4);
}
