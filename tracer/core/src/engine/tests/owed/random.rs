//! Random requests, losses and changes: nobody is accused of what was not owed.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What happens next in a random story.
#[derive(Clone, Debug)]
enum Next {
    /// A request; whether each device takes its entries.
    Served(bool, bool),
    Lost,
    Settled,
    TableRead,
    Buffered,
}

fn next() -> impl Strategy<Value = Next> {
    prop_oneof![
        8 => (any::<bool>(), any::<bool>()).prop_map(|(one, other)| Next::Served(one, other)),
        1 => Just(Next::Lost),
        3 => Just(Next::Settled),
        1 => Just(Next::TableRead),
        1 => Just(Next::Buffered),
    ]
}

proptest! {
    /// Only a request is claimed that one device audited and the other did not, and never one alone.
    #[test]
    fn no_device_is_accused_of_what_it_took_or_did_not_owe(steps in prop::collection::vec(next(), 1..60)) {
        let mut story = Story::new();
        story.happens(both());
        served(&mut story, 20, &[to(LOG), to(OTHER)]);
        let mut owed = BTreeSet::new();
        let connections = 1 + steps.len();
        for (goid, step) in (21..).zip(steps) {
            match step {
                Next::Served(one, other) => {
                    let taken: Vec<_> = [(one, LOG), (other, OTHER)]
                        .into_iter()
                        .filter(|(takes, _)| *takes)
                        .map(|(_, address)| to(address))
                        .collect();
                    served(&mut story, goid, &taken);
                    story.nothing_is_found();
                    if one != other {
                        let debtor = if one { OTHER } else { LOG };
                        owed.insert((format!("id-{goid}"), debtor.to_owned()));
                    }
                }
                Next::Settled => settles(&mut story),
                Next::TableRead => drop(story.happens(both())),
                Next::Buffered => {
                    story.happens(EventKind::BufferingEnded(BufferedTotals::default()));
                }
                Next::Lost => {
                    story.happens(EventKind::RecordsLost {
                        kind: "entry".to_owned(),
                        records: 1,
                        until: None,
                    });
                    // Nothing from before is claimed after it.
                    owed.clear();
                }
            }
            let before = story.findings.len();
            for refusal in story.refusals() {
                let id = refusal.request.id.clone().unwrap_or_default();
                let claim = (id, refusal.device.address.clone());
                prop_assert!(owed.contains(&claim), "{:?} of {:?}", claim, owed);
            }
            prop_assert_eq!(before, story.findings.len());
            story.findings.clear();
        }
        // Two for each connection, which no client of these closes.
        prop_assert!(story.core.kept() < 40 + 2 * connections, "{}", story.core.kept());
    }
}
