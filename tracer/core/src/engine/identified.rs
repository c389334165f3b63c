//! What the trackers make of it that a device is what its operator configured, rather than an address.

use tracer_model::{
    ConfiguredDevice, Device, Event, EventKind, GoroutineSample, Incident, Nanos, Snapshot, Socket,
    Transport,
};

use crate::{engine::trackers::Trackers, track::identities::Learnt};

impl Trackers {
    /// The operator says that these are audit devices.
    pub(super) fn declare(&mut self, devices: &[Device]) {
        self.devices.extend(devices.iter().cloned());
        self.session.declared.extend(devices.iter().cloned());
    }

    /// What was known by the one address is the other device's.
    fn rename(&mut self, (from, to): Learnt) {
        self.sockets.rename(&from, &to);
        self.throughput.rename(&from, &to);
        self.stall_periods.rename(&from, &to);
        self.incidents.rename(&from, &to);
        self.requests.rename(&from, &to);
        if let Some(failure) = self.failures.remove(&from) {
            self.failures.entry(to.clone()).or_insert(failure);
        }
        if let Some(stall) = self.stalls.remove(&from) {
            self.stalls.entry(to.clone()).or_insert(stall);
        }
        self.devices.remove(&from);
        self.devices.insert(to);
    }

    /// The socket of a syslog device, once it is known: one device is one device. Neither the device's configuration nor its code
    /// says where its daemon listens.
    pub(super) fn socket_of_syslog(&self, device: &Device) -> Option<Device> {
        let is_unnamed = device.transport == Transport::Syslog && device.address.is_empty();
        let socket = || self.only_device(Device::is_syslog_socket);
        is_unnamed.then(socket).flatten()
    }

    /// What was known of the HTTP device by its type alone is the device's too, if there is no other one.
    fn rename_http(&mut self, learnt: Learnt) {
        self.rename(learnt);
        let unnamed = Device::new(Transport::Http, "");
        let is_named = |device: &Device| device.transport == Transport::Http && *device != unnamed;
        if self.devices.contains(&unnamed)
            && let Some(device) = self.only_device(is_named)
        {
            self.rename((unnamed, device));
        }
    }

    /// An entry goes to this socket: if it is the syslog device's, that was known without its socket until now.
    fn learn_syslog_socket(&mut self, socket: &Socket) {
        let syslog = Device::new(Transport::Syslog, "");
        if socket.transport == Transport::Unix && self.devices.contains(&syslog) {
            let device = self.identities.of(socket);
            if let Some(device) = device.filter(Device::is_syslog_socket) {
                self.rename((syslog, device));
            }
        }
    }

    /// The server's audit devices are these now.
    pub(super) fn configure(&mut self, at: Nanos, configured: &[ConfiguredDevice]) {
        self.dues.configure(at, configured);
        let owned = self.identities.owned();
        let inferred = self.identities.inferred.clone();
        let gone = self.identities.configure(configured);
        let now = configured.iter().map(|configured| &configured.device);
        self.incidents.configured(now);
        for (address, owner) in owned {
            let device = self.identities.owner_of(&address).clone();
            if device != owner && !gone.contains(&owner) {
                let since = inferred.get(&address).copied();
                self.correct(at, (&address, &owner, since), &device);
            }
        }
        for device in gone {
            // Of one that fails, what began before may end after.
            let is_used = self.incidents.open_of(&device).is_some()
                || self.session.declared.contains(&device);
            self.incidents.removed(&device, at);
            if !is_used {
                self.throughput.forget(&device);
                self.devices.remove(&device);
            }
        }
        for device in self.identities.with_sockets() {
            self.devices.insert(device.clone());
        }
        for (address, device) in self.identities.owned() {
            if self.devices.contains(&address) {
                self.rename((address, device));
            }
        }
    }

    /// This address is the device's, and not the one's that it was taken for, and was inferred to be of since then.
    fn correct(
        &mut self,
        at: Nanos,
        (address, taken_for, since): (&Device, &Device, Option<Nanos>),
        device: &Device,
    ) {
        self.throughput.ask_again(taken_for);
        // An outage that began after that was met there, unless the other one has further addresses.
        let is_met_there = |incident: &Incident| since.is_some_and(|since| since <= incident.start);
        let owned = self.identities.owned();
        let leads_elsewhere = owned.iter().any(|(_, owner)| owner == taken_for);
        let outage = self.incidents.open_of(taken_for);
        if !leads_elsewhere && outage.is_some_and(is_met_there) {
            self.incidents.rename(taken_for, device);
        }
        // Entries were written there, or a stack in the other one's code has shown it.
        self.devices.insert(device.clone());
        for (start, by) in self.sockets.correct(address, device) {
            let request = self.requests.of_wait(by);
            self.stall_periods.wait_ended(taken_for, at);
            self.stall_periods
                .wait_began(device, (start, start), (request, by));
        }
    }

    /// An entry shows whose the address is that it is written to.
    pub(super) fn learn_device(&mut self, event: &Event) {
        if let EventKind::Send {
            socket,
            entry: Some(entry),
            ..
        }
        | EventKind::BufferedWrite {
            socket,
            entry: Some(entry),
            ..
        } = &event.what
            && !socket.accepted
        {
            if let Some(learnt) = self.identities.entry_written(event.at, socket) {
                self.rename(learnt);
            } else if entry.over_http
                && let Some(learnt) = self.identities.entry_over_http(socket)
            {
                self.rename_http(learnt);
            }
            self.learn_syslog_socket(socket);
        }
    }

    /// A goroutine in the code of a device shows that there is one, and whose the address is that it waits for.
    pub(super) fn learn_devices(&mut self, at: Nanos, samples: &[GoroutineSample]) {
        for sample in samples.iter().filter(|sample| sample.is_at_a_socket()) {
            let Some(device) = &sample.device else {
                continue;
            };
            for address in self.sockets.waited_for_by(sample.goid, at) {
                let learnt = self.identities.waited_for(&address, device);
                if let Some(learnt) = learnt {
                    self.rename(learnt);
                }
            }
        }
        for device in samples.iter().filter_map(|sample| sample.device.as_ref()) {
            if let Some(learnt) = self.identities.has_url(device) {
                self.rename_http(learnt);
            }
            let device = self.identities.owner_of(device);
            // Most are known, which is checked sooner than whether a text is an address.
            let is_named = !device.address.is_empty();
            let is_certain = || device.is_address() || self.identities.is_configured(device);
            if is_named && !self.is_audit(device) && is_certain() {
                self.devices.insert(device.clone());
            }
        }
    }

    /// Where audit devices are, as far as is known: addresses, rather than names and URLs.
    pub(super) fn audit_addresses(&self) -> Vec<Device> {
        let owned = self.identities.owned().into_iter();
        let owned = owned.map(|(address, _)| address);
        let own = self.devices.iter().cloned();
        let own = own.filter(|device| device.transport.is_socket() && device.is_address());
        own.chain(owned).collect()
    }

    /// With what is known of its devices.
    pub(super) fn described(&self, mut snapshot: Snapshot) -> Snapshot {
        let stalled = snapshot.stalls.iter_mut().map(|stall| &mut stall.device);
        let devices = snapshot.devices.iter_mut().map(|state| &mut state.device);
        for device in devices.chain(stalled) {
            self.identities.describe(device);
        }
        snapshot
    }

    /// Takes an entry that its request has done with.
    pub(super) fn buffered_write(&mut self, event: &Event) {
        self.learn_device(event);
        let identities = &self.identities;
        if let EventKind::BufferedWrite {
            socket,
            entry: Some(_),
            ..
        } = &event.what
        {
            let device = identities.of(socket);
            if let Some(device) = &device {
                self.dues.sign(device, event.at, true);
            }
            self.devices.extend(device);
        }
        self.throughput.observe(event, identities);
        let sockets = &mut self.sockets;
        sockets.observe_buffered_write(event, identities);
    }
}
