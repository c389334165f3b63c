//! Waits of which it is not known for which of several devices they were, where neither the debugging information nor the types of a
//! program can be read: a request queues for one device while others are stalled too.

use std::collections::BTreeMap;

use tracer_model::{Device, Nanos, Operation};

/// Waits for one of several devices.
#[derive(Debug, Default)]
pub(crate) struct Unascribed(Vec<Operation>);

/// Finds out for which device each such wait was, as far as only one can be meant: a sink's goroutine has one device. Takes out what is
/// left. `own`: the request's own goroutine, which goes from device to device.
pub(crate) fn ascribe(operations: &mut Vec<Operation>, own: Option<u64>) -> Unascribed {
    if !operations
        .iter()
        .any(|operation| operation.device.is_unknown())
    {
        return Unascribed::default();
    }
    let sinks = devices_of_sinks(operations, own);
    for operation in operations.iter_mut().filter(|o| o.device.is_unknown()) {
        let device = operation
            .by
            .goid
            .and_then(|goid| sinks.get(&goid)?.as_ref());
        if let Some(device) = device {
            operation.device.clone_from(device);
        }
    }
    let all = std::mem::take(operations).into_iter();
    let (unknown, known): (Vec<_>, Vec<_>) = all.partition(|o| o.device.is_unknown());
    *operations = known;
    Unascribed(unknown)
}

impl Unascribed {
    /// For how long, ns.
    pub(crate) fn duration(&self) -> Nanos {
        covered(self.0.iter().map(span))
    }

    /// By how much a device may have blocked the request for longer than it did at these times, ns.
    pub(crate) fn beside(&self, known: impl Iterator<Item = (Nanos, Nanos)> + Clone) -> Nanos {
        covered(known.clone().chain(self.0.iter().map(span))) - covered(known)
    }
}

fn span(operation: &Operation) -> (Nanos, Nanos) {
    (operation.start, operation.end)
}

/// The device of each sink; `None` where it seems to have several.
fn devices_of_sinks(operations: &[Operation], own: Option<u64>) -> BTreeMap<u64, Option<Device>> {
    let mut sinks: BTreeMap<u64, Option<Device>> = BTreeMap::new();
    for operation in operations.iter().filter(|o| !o.device.is_unknown()) {
        let Some(goid) = operation.by.goid.filter(|goid| Some(*goid) != own) else {
            continue;
        };
        let known = sinks
            .entry(goid)
            .or_insert_with(|| Some(operation.device.clone()));
        if known.as_ref() != Some(&operation.device) {
            *known = None;
        }
    }
    sinks
}

/// For how long there was at least one of these, ns.
pub(crate) fn covered(spans: impl Iterator<Item = (Nanos, Nanos)>) -> Nanos {
    let mut spans: Vec<_> = spans.collect();
    spans.sort_unstable();
    let mut reached = 0;
    let lasted = spans.into_iter().map(|(start, end)| {
        let lasted = end.saturating_sub(start.max(reached));
        reached = end.max(reached);
        lasted
    });
    lasted.sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tracer_model::{Actor, Op, Transport};

    use super::*;

    const OWN: u64 = 1;

    fn operation(op: Op, goid: u64, device: Device, span: (Nanos, Nanos)) -> Operation {
        let by = Actor {
            goid: Some(goid),
            ..Actor::default()
        };
        Operation::new(op, device, by, span)
    }

    fn tcp(address: &str) -> Device {
        Device::configured(Transport::Tcp, address)
    }

    fn waits(operations: &[Operation]) -> Vec<(String, Nanos, Nanos)> {
        let wait = |o: &Operation| (o.device.address.clone(), o.start, o.end);
        operations.iter().map(wait).collect()
    }

    #[test]
    fn a_sink_queues_for_the_device_that_it_uses() {
        let (one, other) = (tcp("10.0.0.2:1515"), tcp("10.0.0.3:1515"));
        let mut operations = vec![
            operation(Op::Lock, 8, Device::unknown(), (0, 40)),
            operation(Op::Lock, 9, Device::unknown(), (0, 100)),
            operation(Op::Connect, 8, one.clone(), (40, 60)),
        ];
        // What another sink waited for beyond the 60 that are known may be any device.
        let left = ascribe(&mut operations, Some(OWN));
        assert_eq!(left.beside(operations.iter().map(span)), 40);
        assert_eq!(
            waits(&operations),
            [(one.address.clone(), 0, 40), (one.address.clone(), 40, 60)]
        );
        // The twins: the request's own goroutine, and one that seems to use two devices, may have queued for either.
        for (goid, devices) in [(OWN, vec![one.clone()]), (8, vec![one, other])] {
            let queued = operation(Op::Lock, goid, Device::unknown(), (0, 40));
            let used = devices.into_iter().enumerate();
            let used = used.map(|(i, device)| {
                let at = 40 + i as Nanos;
                operation(Op::Connect, goid, device, (at, at + 1))
            });
            let mut operations: Vec<_> = std::iter::once(queued).chain(used).collect();
            let left = ascribe(&mut operations, Some(OWN));
            assert_eq!(left.duration(), 40, "{operations:?}");
            assert!(operations.iter().all(|o| o.op == Op::Connect));
        }
    }

    proptest! {
        #[test]
        fn nothing_that_was_waited_is_lost(
            all in prop::collection::vec((0..4_u64, 0..3_usize, 0..50_u64, 0..50_u64), 0..12)
        ) {
            let devices = [Device::unknown(), tcp("10.0.0.2:1515"), tcp("10.0.0.3:1515")];
            let all = all.into_iter().map(|(goid, device, start, len)| {
                operation(Op::Lock, goid, devices[device].clone(), (start, start + len))
            });
            let mut operations: Vec<_> = all.collect();
            let before = covered(operations.iter().map(span));
            let left = ascribe(&mut operations, Some(OWN));
            let known = operations.iter().map(span);
            prop_assert_eq!(covered(known.clone()) + left.beside(known), before);
            prop_assert!(!operations.iter().any(|o| o.device.is_unknown()));
        }
    }
}
