//! How many requests a client may make: a rate with bursts for each token, and for each address that shows none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are told apart; beyond that, new ones share one allowance.
const MOST_CLIENTS: usize = 4096;

/// Who is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Client {
    /// Who shows this token, wherever from.
    Token(String),
    /// Who shows no valid token, from this address; of IPv6, from this network.
    Address(IpAddr),
    /// Who comes over the Unix socket without a token, and who can't be told apart.
    Others,
}

impl Client {
    pub(super) fn address(peer: Option<IpAddr>) -> Self {
        match peer {
            Some(IpAddr::V6(ip)) => {
                let [a, b, c, d, ..] = ip.segments();
                Self::Address(std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            Some(ip) => Self::Address(ip),
            None => Self::Others,
        }
    }
}

/// The rate: for each client the moment up to which its allowance is used (the generic cell rate algorithm).
#[derive(Debug)]
pub struct Rate {
    /// What one request uses.
    cost: Duration,
    /// How far ahead of now a client may use.
    ahead: Duration,
    used: Mutex<HashMap<Client, Instant>>,
}

impl Rate {
    /// So many requests a second, and so many at once after a pause. `None`: without a limit.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let cost = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { cost, ahead: cost.saturating_mul(burst.max(1)), used: Mutex::default() })
    }

    /// Counts a request.
    ///
    /// # Errors
    /// How long to wait, where the allowance is used up.
    pub(super) fn take(&self, client: Client, now: Instant) -> Result<(), Duration> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = client;
        if used.len() >= MOST_CLIENTS && !used.contains_key(&client) {
            used.retain(|_, until| *until > now);
            if used.len() >= MOST_CLIENTS {
                client = Client::Others;
            }
        }
        let until = used.entry(client).or_insert(now);
        let next = (*until).max(now) + self.cost;
        match next.duration_since(now).checked_sub(self.ahead) {
            Some(over) if over > Duration::ZERO => Err(over),
            _ => {
                *until = next;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(name: &str) -> Client {
        Client::Token(name.to_owned())
    }

    #[test]
    fn a_burst_then_the_rate_and_each_client_for_itself() {
        let (rate, begun) = (Rate::new(10, 5).unwrap(), Instant::now());
        for _ in 0..5 {
            assert_eq!(rate.take(token("a"), begun), Ok(()));
        }
        assert_eq!(rate.take(token("a"), begun), Err(Duration::from_millis(100)));
        assert_eq!(rate.take(token("b"), begun), Ok(()));
        let later = begun + Duration::from_millis(100);
        assert_eq!(rate.take(token("a"), later), Ok(()));
        assert!(rate.take(token("a"), later).is_err());
        let much_later = begun + Duration::from_secs(60);
        let taken = (0..100).filter(|_| rate.take(token("a"), much_later).is_ok()).count();
        assert_eq!(taken, 5, "a pause gives a burst, not more");
        assert!(Rate::new(0, 5).is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (rate, now) = (Rate::new(1, 1).unwrap(), Instant::now());
        for n in 0..2 * MOST_CLIENTS {
            let _ = rate.take(token(&n.to_string()), now);
        }
        assert!(rate.used.lock().unwrap().len() <= MOST_CLIENTS + 1);
        let one_network = ["2001:db8::1", "2001:db8::2"].map(|ip| Client::address(Some(ip.parse().unwrap())));
        assert_eq!(one_network[0], one_network[1]);
    }
}
