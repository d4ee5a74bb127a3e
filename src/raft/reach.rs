//! Whether enough voters are connected for anything to be committed. A node that stops asks: whoever stops last has
//! nobody left to wait for.

use std::{collections::BTreeSet, time::Duration};

use tokio::time::{Instant, sleep};

use super::{error::ProposeError, handle::Handle};
use crate::state::{Command, Outcome};

/// A connection that is made anew takes less.
const MISSED_FOR: Duration = Duration::from_millis(500);

const LOOK_EVERY: Duration = Duration::from_millis(20);

impl Handle {
    /// As [`propose`](Self::propose), but given up where it can't be committed, since too few voters are connected.
    ///
    /// # Errors
    ///
    /// [`ProposeError`].
    pub async fn propose_at_the_end(&self, command: Command) -> Result<Outcome, ProposeError> {
        tokio::select! {
            outcome = self.propose(command) => outcome,
            () = self.quorum_missed() => {
                Err(ProposeError::Unknown { why: "too few voters are connected" })
            }
        }
    }

    /// Waits until fewer voters than a quorum are connected, and stay so for a moment.
    pub async fn quorum_missed(&self) {
        let mut since = None;
        loop {
            if self.reaches_quorum() {
                since = None;
            } else if since.get_or_insert_with(Instant::now).elapsed() >= MISSED_FOR {
                return;
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether a quorum of the voters is connected, this one included if it votes.
    #[must_use]
    pub fn reaches_quorum(&self) -> bool {
        let mut reached: BTreeSet<_> = self.network().connected();
        reached.insert(self.id());
        let members = self.members().borrow().clone();
        let voters = members.voters.iter().filter(|voter| reached.contains(voter)).count();
        voters > members.voters.len() / 2
    }
}
