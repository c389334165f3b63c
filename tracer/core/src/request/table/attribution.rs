//! Goroutines that work for a request and are not its own: whose they are.

use super::{Request, Requests};
use tracer_model::Attribution;
use tracer_model::RequestSeq;
use tracer_model::{Actor, EntryHead, GoroutineSample, Nanos};

impl Requests {
    /// Whose request a goroutine that was found works on, if it is anybody's any more. `began`: when
    /// the trace did.
    pub fn whose(&mut self, parked: &GoroutineSample, began: Nanos) -> Option<RequestSeq> {
        if self.outlived.all.contains(&parked.goid) {
            return None;
        }
        let line: Vec<_> = parked.line().collect();
        let works = parked.request.unwrap_or(parked.goid);
        let above = line.iter().skip_while(|goid| **goid != works).nth(1);
        if let Some(mistaken) = above.and_then(|goid| self.clients.has_streams(*goid)) {
            self.forget(mistaken);
        }
        let known = line.iter().position(|goid| self.works.contains_key(goid));
        let served = line
            .iter()
            .position(|goid| self.clients.served_by(*goid).is_some());
        if let Some(served) = served.filter(|served| known.is_none_or(|known| known < *served)) {
            self.served(&line, served);
        }
        let known = line.iter().position(|goid| self.works.contains_key(goid));
        let of = known.unwrap_or_else(|| {
            let told = line.iter().position(|goid| parked.request == Some(*goid));
            let of = told.unwrap_or(0);
            self.add(began, line[of]);
            of
        });
        let serial = self.adopt(self.works[&line[of]], &line[of + 1..]);
        for goid in line.iter().take(of).chain(Some(&parked.goid)) {
            self.is_kin(*goid, serial, Attribution::Lineage);
        }
        self.is_descended(serial, &line[1..]);
        Some(serial)
    }

    /// That a goroutine descends from the request's says more than what its entry does.
    fn is_descended(&mut self, serial: RequestSeq, ancestors: &[u64]) {
        let request = self.get_mut(serial);
        let descends =
            |request: &&mut Request| request.goid.is_some_and(|of| ancestors.contains(&of));
        if let Some(request) = request.filter(descends) {
            request.kin = Some(Attribution::Lineage);
        }
    }

    /// One that was found before it was seen to act: begun with what its client sent last, or before.
    /// `at`: where in the line the goroutine that serves the connection is.
    fn served(&mut self, line: &[u64], at: usize) {
        let server = line[at];
        let Some(client) = self.clients.served_by(server) else {
            return;
        };
        let (received, goid) = match (client.multiplexed, at) {
            (false, _) => (client.received, server),
            (true, 0) => return,
            (true, _) => (client.received, line[at - 1]),
        };
        if !self.works.contains_key(&goid) {
            self.add_of(received, goid, Some(server));
        }
    }

    /// What seemed to be a request of nobody belongs to that of an ancestor.
    fn adopt(&mut self, serial: RequestSeq, ancestors: &[u64]) -> RequestSeq {
        let mut elders = ancestors.iter().filter_map(|goid| self.works.get(goid));
        let Some(elder) = elders.find(|elder| **elder != serial).copied() else {
            return serial;
        };
        if self.absorb(serial, elder, Attribution::Lineage) {
            elder
        } else {
            serial
        }
    }

    /// Makes a request of nobody part of another one.
    fn absorb(&mut self, orphan: RequestSeq, elder: RequestSeq, tie: Attribution) -> bool {
        if !self.get(orphan).is_some_and(Request::is_orphan) {
            return false;
        }
        let Some(orphan) = self.under_way.remove(&orphan) else {
            return false;
        };
        for goid in &orphan.goroutines {
            self.is_kin(*goid, elder, tie);
        }
        if let Some(request) = self.under_way.get_mut(&elder) {
            request.absorb(*orphan);
            let stream = request.stream();
            self.clients.stir(stream);
        }
        true
    }

    fn is_kin(&mut self, goid: u64, serial: RequestSeq, tie: Attribution) {
        if self.works.insert(goid, serial) != Some(serial)
            && let Some(request) = self.under_way.get_mut(&serial)
        {
            request.goroutines.push(goid);
            request.kin.get_or_insert(tie);
        }
    }

    /// Where no stack leads from a sink's goroutine to the request's, its entry does: it bears the
    /// client's port. So do its siblings' then, whose parent is the same.
    pub(super) fn adopt_by_entry(&mut self, serial: RequestSeq, by: Actor, entry: &EntryHead) {
        let Some(port) = entry.remote_port else {
            return;
        };
        let of_port = self.ports.range((port, 0)..=(port, RequestSeq::MAX));
        let mut meant = of_port
            .map(|(_, elder)| *elder)
            .filter(|elder| *elder != serial);
        let (Some(elder), None) = (meant.next(), meant.next()) else {
            return;
        };
        if self.absorb(serial, elder, Attribution::Payload)
            && let Some(parent) = by.parent.filter(|parent| !self.works.contains_key(parent))
        {
            self.is_kin(parent, elder, Attribution::Payload);
        }
    }
}
