//! Hashes and verifies passwords with argon2id, off the async threads and few at a time. It never stores or logs one.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::Semaphore;

use crate::{config, error::ApiError};

/// The fewest characters of a password.
pub const PASSWORD_CHARS_MIN: usize = 8;

/// The most characters of a password.
pub const PASSWORD_CHARS_MAX: usize = 256;

/// OWASP's argon2id parameters: memory in KiB, passes, lanes.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A hash of nobody's password under the same parameters: verifying against it takes as long as against a real one.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$VGlueUJhc2VOb2JvZHkwMA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// The pool that all password work goes through.
#[derive(Debug)]
pub(super) struct Passwords {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// Counts a caller as waiting for as long as it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    pub(super) fn new(config: &config::Auth) -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let concurrency_max = match config.password_hash_concurrency_max {
            0 => cores,
            given => given,
        };
        Passwords {
            permits: Arc::new(Semaphore::new(concurrency_max)),
            waiting: AtomicUsize::new(0),
            waiting_max: config.password_hash_queue_max,
        }
    }

    /// The password's hash as a PHC string. 503 while too many others wait.
    pub(super) async fn hash(&self, password: String) -> Result<String, ApiError> {
        let hashed = self.run(move || hash(&password)).await?;
        hashed.map_err(|cause| ApiError::internal_logged("a password could not be hashed", &cause))
    }

    /// Whether `password` is the one behind `stored`; without one, always false, but after as long a time.
    pub(super) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool, ApiError> {
        self.run(move || {
            let known = stored.is_some();
            let stored = stored.as_deref().unwrap_or(NOBODY);
            // The parameters are those in the stored string: hashes of older parameters still verify.
            let verified = Argon2::default().verify_password(password.as_bytes(), stored).is_ok();
            verified && known
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let permit = match Arc::clone(&self.permits).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let before = self.waiting.fetch_add(1, Ordering::Relaxed);
                let _waiting = Waiting(&self.waiting);
                if before >= self.waiting_max {
                    return Err(ApiError::unavailable(
                        "password_hash_busy",
                        "too many sign-ins are under way; try again shortly",
                    ));
                }
                let permits = Arc::clone(&self.permits);
                permits.acquire_owned().await.expect("the semaphore of passwords is never closed")
            }
        };
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|cause| ApiError::internal_logged("password work ended early", &cause))
    }
}

/// The password's hash as a PHC string; takes tens of milliseconds.
fn hash(password: &str) -> argon2::password_hash::Result<String> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("OWASP's parameters are valid");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Ok(argon2.hash_password(password.as_bytes())?.to_string())
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use argon2::PasswordHash;

    use super::*;

    fn passwords(concurrency_max: usize, queue_max: usize) -> Passwords {
        Passwords::new(&config::Auth {
            password_hash_concurrency_max: concurrency_max,
            password_hash_queue_max: queue_max,
            ..config::Auth::default()
        })
    }

    #[tokio::test]
    async fn a_password_verifies_against_its_own_hash_alone() {
        let passwords = passwords(1, 8);
        let stored = passwords.hash("correct horse".into()).await.unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(passwords.verify("correct horse".into(), Some(stored.clone())).await.unwrap());
        assert!(!passwords.verify("correct hors".into(), Some(stored)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), Some("not a hash".into())).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
    }

    #[test]
    fn nobody_costs_what_a_real_hash_costs() {
        let real = hash("x").unwrap();
        let (nobody, real) = (PasswordHash::new(NOBODY).unwrap(), PasswordHash::new(&real).unwrap());
        assert_eq!(nobody.params, real.params);
        assert_eq!((nobody.algorithm, nobody.version), (real.algorithm, real.version));
        assert_eq!(nobody.hash.unwrap().len(), real.hash.unwrap().len());
        assert_eq!(nobody.salt.unwrap().len(), real.salt.unwrap().len());
    }

    async fn is_pending<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
        std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    #[tokio::test]
    async fn more_than_the_queue_holds_are_refused() {
        let passwords = passwords(1, 1);
        let (started, wait) = std::sync::mpsc::channel::<()>();
        let busy = passwords.run(move || wait.recv());
        tokio::pin!(busy);
        assert!(is_pending(busy.as_mut()).await);
        let queued = passwords.run(|| 1);
        tokio::pin!(queued);
        assert!(is_pending(queued.as_mut()).await);
        let refused = passwords.run(|| 2).await.unwrap_err();
        assert_eq!((refused.status.as_u16(), &*refused.code), (503, "password_hash_busy"));
        started.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(queued.await.unwrap(), 1);
        assert_eq!(passwords.run(|| 3).await.unwrap(), 3);
    }
}
