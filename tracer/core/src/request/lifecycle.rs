//! How far a request is: explicit stages, and one function that says how each signal changes them.

/// The stage of a request.
///
/// ```text
///              client known            answered
/// Unattributed ------------> Open ------------------> Answered
///      |                     |  ^
///      |        records lost |  | confirmed
///      |                     v  |
///      |                    InDoubt ----------------> EndUnseen   (acts again, answered, idle)
///      |                     |
///      | idle                | client closed          Abandoned   (from Open too)
///      v                     v
///   EndUnseen              server or trace ends:      Cut         (from any stage that is not over)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Work of a goroutine whose client is not known; it may turn out to be part of another request.
    Unattributed,
    /// A client waits for the answer.
    Open,
    /// Records were lost meanwhile: it may have been answered, and its goroutine may serve another request.
    InDoubt,
    /// The server answered it.
    Answered,
    /// The server closed the client's connection without an answer.
    Abandoned,
    /// Nothing more was seen of it.
    EndUnseen,
    /// The server or the trace ended first.
    Cut,
}

/// What is seen of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// It is known whose connection it came over.
    ClientKnown,
    /// The answer was sent on its connection.
    Answered,
    /// The server closed its connection.
    ClientClosed,
    /// Probes' records were lost.
    RecordsLost,
    /// A sample or an entry shows that it is still this request that its goroutine works on.
    Confirmed,
    /// Its goroutine acts, in a way that the next request's would be too.
    ActsAgain,
    /// Nothing was seen of it for longer than it can take.
    Idle,
    /// The server or the trace ends.
    End,
}

impl Stage {
    /// Whether nothing more is to come of the request.
    pub(crate) fn is_over(self) -> bool {
        matches!(
            self,
            Self::Answered | Self::Abandoned | Self::EndUnseen | Self::Cut
        )
    }

    /// The stage after this signal.
    pub(crate) fn after(self, signal: Signal) -> Self {
        match (self, signal) {
            (over, _) if over.is_over() => over,
            (_, Signal::End) => Self::Cut,
            (_, Signal::Idle) => Self::EndUnseen,
            (Self::InDoubt, Signal::Answered | Signal::ClientClosed | Signal::ActsAgain) => {
                Self::EndUnseen
            }
            (_, Signal::Answered) => Self::Answered,
            (_, Signal::ClientClosed) => Self::Abandoned,
            (Self::Open, Signal::RecordsLost) => Self::InDoubt,
            (Self::InDoubt, Signal::Confirmed) | (Self::Unattributed, Signal::ClientKnown) => {
                Self::Open
            }
            (stage, _) => stage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Signal,
        Stage::{self, *},
    };

    const SIGNALS: [Signal; 8] = [
        Signal::ClientKnown,
        Signal::Answered,
        Signal::ClientClosed,
        Signal::RecordsLost,
        Signal::Confirmed,
        Signal::ActsAgain,
        Signal::Idle,
        Signal::End,
    ];

    /// Every stage, and where each signal leads, in the order of `SIGNALS`.
    const TABLE: [(Stage, [Stage; 8]); 7] = [
        (
            Unattributed,
            [
                Open,
                Answered,
                Abandoned,
                Unattributed,
                Unattributed,
                Unattributed,
                EndUnseen,
                Cut,
            ],
        ),
        (
            Open,
            [
                Open, Answered, Abandoned, InDoubt, Open, Open, EndUnseen, Cut,
            ],
        ),
        (
            InDoubt,
            [
                InDoubt, EndUnseen, EndUnseen, InDoubt, Open, EndUnseen, EndUnseen, Cut,
            ],
        ),
        (Answered, [Answered; 8]),
        (Abandoned, [Abandoned; 8]),
        (EndUnseen, [EndUnseen; 8]),
        (Cut, [Cut; 8]),
    ];

    #[test]
    fn each_signal_leads_from_each_stage_where_the_table_says() {
        for (stage, expected) in TABLE {
            let after = SIGNALS.map(|signal| stage.after(signal));
            assert_eq!(after, expected, "{stage:?}");
        }
    }

    #[test]
    fn a_request_that_is_over_stays_over() {
        for (stage, after) in TABLE {
            let stays = after.iter().all(|after| *after == stage);
            assert_eq!(stage.is_over(), stays, "{stage:?}");
        }
    }
}
