//! The rules of the protocol, by name. Each can be taken out, and then the checker must find what it is for.

/// A rule of the protocol.
///
/// Those down to `HigherBootFreesLease` are the sentences of decision 16; the next group was found by this model and
/// completes them; the last group is decisions 15, 20 and 22.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Rule {
    /// A lease is in force only once the node has applied as far as the reply's index.
    LeaseWaitsForItsIndex,
    /// A leader grants nothing before its own first entry is applied.
    NoGrantBeforeFirstEntry,
    /// A leader grants nothing to a node whose loss it has proposed, until that entry is applied.
    NoGrantToTheLosing,
    /// A loss is proposed for the term in which the silence was measured.
    LossOfItsTerm,
    /// A renewal counts from the moment it was sent.
    RenewalCountsFromSend,
    /// A leader holds no node lease: of the one it has when it is elected no more is left than a leader's right lasts.
    LeaderHoldsNoNodeLease,
    /// A leader's right to own counts from the moment its last acknowledged round was sent.
    LeaderCountsFromSend,
    /// A leader's right to own ends, although it believes that it leads.
    LeaderRightEnds,
    /// A leader renews others only shortly after a round that a quorum acknowledged.
    RenewsOthersBriefly,
    /// A leader renews nobody after asking for a transfer.
    NoGrantAfterTransfer,
    /// A leader that owns shards says in the log that it yields before it asks for a transfer, so that its successor
    /// waits for it as for everyone.
    YieldsBeforeTransfer,
    /// A restarted voter neither votes nor campaigns for one election-max.
    RestartedVoterWaits,
    /// A new leader waits before it takes the dead leader's shards.
    DeadLeaderIsWaitedFor,
    /// A new leader waits a whole TTL before it takes the shards of anyone else.
    OthersAreWaitedFor,
    /// Only a higher boot epoch of the same node frees a lease early.
    HigherBootFreesLease,

    /// A leader owns nothing before its own first entry is applied.
    LeaderOwnsFromFirstEntry,
    /// A leader asks for a transfer only when all that its log holds is applied: an entry on its way could give it shards.
    NothingInFlightAtTransfer,
    /// A grant for a renewal that the node sent before it led is worthless afterwards.
    LeadingVoidsOldRenewals,
    /// A lease is granted to the committed boot epoch alone, so that the next one is known to be higher.
    GrantNamesCommittedBoot,
    /// A node's start gives its shards a new epoch, which fences what its last process said and is still in flight.
    StartRaisesEpoch,
    /// A leader has one entry on its way that takes a node's shards, not two: the first one applied would end the
    /// refusal that the second one needs.
    OneTakingAtATime,
    /// A leader whose transfer came to nothing asks again.
    TransferIsAskedAgain,

    /// A release counts only for the epoch that it names.
    ReleaseNamesItsEpoch,
    /// An owner stops before it releases.
    StopsBeforeRelease,
    /// Handlers finish before the release, whose sequence is therefore handled.
    HandlersFinishBeforeRelease,
    /// State accepts only growth of (epoch, session, sequence).
    CheckpointsOnlyGrow,
    /// A checkpoint is the highest sequence up to which every event is handled.
    CheckpointIsContiguous,
    /// A session is committed before its first event is delivered.
    SessionBeforeItsEvents,
}

/// All rules, but for those taken out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    out: u32,
}

impl Rules {
    pub(super) const fn without(rule: Rule) -> Self {
        Self { out: 1 << rule as u8 }
    }

    pub(super) const fn hold(self, rule: Rule) -> bool {
        self.out & (1 << rule as u8) == 0
    }
}
