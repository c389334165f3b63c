//! Which audit device a socket leads to: what its operator configured, whatever address it was met under.
//!
//! A device that is configured by a name leads to another address after each look-up, one that is configured by a URL has
//! sockets below it, and a Unix socket may be bound elsewhere than where the server finds it (a link, a bind mount): by
//! device and inode number the agent finds where, or it is the only one that is left. An address is a device's where the configuration says so, where an entry was written to it that no other device can have
//! written, or where a stack in the device's code waited for it. All else stays an address.

use std::net::{IpAddr, SocketAddr};

use rustc_hash::{FxHashMap, FxHashSet};
use tracer_model::{AddressKind, ConfiguredDevice, Device, Nanos, Socket, Transport};

/// Addresses beyond which none is learnt.
const MAX_LEARNT: usize = 256;

/// An address that turned out to be a device's.
pub(crate) type Learnt = (Device, Device);

/// What the operator configured, and the addresses that led there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identities {
    configured: Vec<ConfiguredDevice>,
    /// Whose an address is that is not configured itself.
    owners: FxHashMap<Device, Device>,
    /// Of these addresses, those that are an owner's only because entries there could be of no other device that was configured,
    /// and when that was.
    pub(crate) inferred: FxHashMap<Device, Nanos>,
    /// Of a device that is configured by a name or a URL.
    addresses: FxHashMap<Device, Vec<String>>,
    /// Where the server finds its syslog daemon, whose device is configured without an address.
    syslog: Option<Device>,
    /// Configured Unix sockets that were met where they are configured.
    met: FxHashSet<Device>,
    /// Devices that were met at the address of another one, by that one.
    sharers: FxHashMap<Device, Vec<Device>>,
    /// HTTP devices with names in their URLs that stacks have shown, where no configuration can be read.
    named: Vec<Device>,
}

/// Where on the network a device is.
struct Place<'a> {
    /// Of its sockets.
    transport: Transport,
    host: &'a str,
    port: u16,
}

impl Identities {
    /// Takes what is configured now. Returns what is configured no longer.
    pub(crate) fn configure(&mut self, devices: &[ConfiguredDevice]) -> Vec<Device> {
        let is_gone = |device: &Device| !devices.iter().any(|now| now.device == *device);
        let before = std::mem::take(&mut self.configured);
        let gone = before.into_iter().map(|before| before.device);
        let gone: Vec<_> = gone.filter(is_gone).collect();
        // Where their sockets lead is kept beside them.
        let plain = devices.iter().map(|configured| ConfiguredDevice {
            device: Device {
                addresses: Vec::new(),
                ..configured.device.clone()
            },
            ..configured.clone()
        });
        self.configured = plain.collect();
        self.named
            .retain(|device| !self.configured.iter().any(|known| known.device == *device));
        self.owners.retain(|_, owner| !is_gone(owner));
        self.addresses.retain(|device, _| !is_gone(device));
        self.release();
        self.met.retain(|device| !is_gone(device));
        self.sharers.retain(|device, others| {
            others.retain(|other| !is_gone(other));
            !is_gone(device) && !others.is_empty()
        });
        for configured in devices {
            let device = &configured.device;
            let address = Place::of(device).and_then(|place| place.address());
            if let Some(address) = address.filter(|address| address != device) {
                self.add(address, device.clone());
            }
        }
        let syslog = devices.iter().map(|known| &known.device);
        let mut syslog = syslog.filter(|device| device.transport == Transport::Syslog);
        let path = syslog.find_map(|device| device.addresses.first());
        self.syslog = path.map(|path| Device::new(Transport::Unix, path.clone()));
        self.add_paths(devices);
        gone
    }

    /// The server writes to a device before its table has it, so an address may have been taken for another device's: releases
    /// those that are configured themselves now, and those that are, or may be, of another device than was inferred.
    fn release(&mut self) {
        let leads_to = |device: &Device, address: &Device| {
            let place = Place::of(device).and_then(|place| place.address());
            place.as_ref().unwrap_or(device) == address
        };
        let is_released = |(address, owner): &Learnt| {
            let is_another = || self.infer(address) != Some(owner);
            self.devices().any(|device| leads_to(device, address))
                || (self.inferred.contains_key(address) && is_another())
        };
        let released = self.owned().into_iter().filter(is_released);
        for (address, owner) in released.collect::<Vec<_>>() {
            self.owners.remove(&address);
            if let Some(known) = self.addresses.get_mut(&owner) {
                known.retain(|known| *known != address.address);
            }
        }
        let owners = &self.owners;
        self.inferred.retain(|to, _| owners.contains_key(to));
    }

    /// Paths under which the peers of Unix sockets are met, but for those that are configured themselves or lead to two devices.
    fn add_paths(&mut self, devices: &[ConfiguredDevice]) {
        let paths: Vec<_> = devices.iter().flat_map(other_paths).collect();
        for (path, device) in &paths {
            let others = paths.iter().filter(|(other, _)| other == path);
            let address = Device::new(Transport::Unix, path.clone());
            if others.count() == 1 && !self.is_configured(&address) {
                self.add(address, device.clone());
            }
        }
    }

    /// The device of a socket, if that leads anywhere yet.
    pub(crate) fn of(&self, socket: &Socket) -> Option<Device> {
        let address = Device::of(socket)?;
        Some(match self.owners.get(&address) {
            Some(owner) => owner.clone(),
            None => address,
        })
    }

    /// The device that owns this address, or what is configured with it, for all that is known.
    pub(crate) fn owner_of<'a>(&'a self, address: &'a Device) -> &'a Device {
        self.owners.get(address).unwrap_or(address)
    }

    /// The device that the operator gave this path, and of an address or name the device that is configured with it or owns it.
    pub(crate) fn meant(&self, path: Option<&str>, said: Option<&Device>) -> Option<Device> {
        let by_path = |known: &&ConfiguredDevice| Some(&*known.path) == path;
        if let Some(known) = self.configured.iter().find(by_path) {
            let is_syslog = known.device.transport == Transport::Syslog;
            let socket = self.syslog.as_ref().filter(|_| is_syslog);
            return Some(socket.unwrap_or(&known.device).clone());
        }
        let owner = self.owners.get(said?);
        owner
            .or(said.filter(|said| self.is_configured(said)))
            .cloned()
    }

    /// Whether the operator configured exactly this.
    pub(crate) fn is_configured(&self, device: &Device) -> bool {
        self.configured.iter().any(|known| known.device == *device)
    }

    /// Whether it is configured, and gets all entries.
    pub(crate) fn takes_all(&self, device: &Device) -> bool {
        let is_it = |known: &ConfiguredDevice| known.device == *device && known.takes_all;
        self.configured.iter().any(is_it)
    }

    /// Whether it is the only one that is configured.
    pub(crate) fn is_alone(&self, device: &Device) -> bool {
        matches!(&self.configured[..], [known] if known.device == *device)
    }

    /// Those that are configured and have sockets.
    pub(crate) fn with_sockets(&self) -> impl Iterator<Item = &Device> {
        let all = self.configured.iter().map(|known| &known.device);
        all.filter(|device| device.transport.is_socket() || device.transport == Transport::Http)
    }

    /// Addresses that are not configured themselves, and whose they are.
    pub(crate) fn owned(&self) -> Vec<Learnt> {
        let owned = self.owners.iter();
        owned
            .map(|(address, owner)| (address.clone(), owner.clone()))
            .collect()
    }

    /// How many things are kept.
    pub(crate) fn kept(&self) -> usize {
        let learnt = self.owners.len() + self.inferred.len() + self.addresses.len();
        let met = self.met.len() + self.sharers.len();
        self.configured.len() + learnt + met + self.named.len()
    }

    /// An entry was written to this socket. Returns its address and device if that is new.
    pub(crate) fn entry_written(&mut self, at: Nanos, socket: &Socket) -> Option<Learnt> {
        if self.configured.is_empty() && self.named.is_empty() {
            return None;
        }
        let address = Device::of(socket)?;
        if self.owners.contains_key(&address) {
            return None;
        }
        if self.is_configured(&address) {
            if address.transport == Transport::Unix {
                self.met.insert(address);
            }
            return None;
        }
        let owner = self.infer(&address)?.clone();
        let learnt = self.learn(address, owner)?;
        self.inferred.insert(learnt.0.clone(), at);
        Some(learnt)
    }

    /// The only device that entries which are written there can be of.
    fn infer(&self, address: &Device) -> Option<&Device> {
        match address.address.parse::<SocketAddr>() {
            Ok(remote) => self.owner_by_port(address, remote.port()),
            Err(_) => self.owner_by_elimination(address),
        }
    }

    /// An entry was sent to this socket in an HTTP request. Where no configuration can be read, that shows what kind of device it is.
    pub(crate) fn entry_over_http(&mut self, socket: &Socket) -> Option<Learnt> {
        let address = Device::of(socket).filter(|address| address.transport == Transport::Tcp)?;
        let is_free = self.configured.is_empty() && !self.owners.contains_key(&address);
        let server = http_server(&address);
        is_free.then(|| self.learn(address, server))?
    }

    /// The only device whose configured address may lead to this one.
    fn owner_by_port(&self, address: &Device, port: u16) -> Option<&Device> {
        only(
            self.devices().chain(&self.named).filter(|device| {
                Place::of(device).is_some_and(|place| place.may_be(address, port))
            }),
        )
    }

    /// The only Unix socket device that was met at no other address: a path may be a link to another.
    fn owner_by_elimination(&self, address: &Device) -> Option<&Device> {
        let has_syslog = self
            .devices()
            .any(|device| device.transport == Transport::Syslog);
        if has_syslog && address.is_syslog_socket() {
            return None;
        }
        only(self.devices().filter(|device| {
            let mut known = self.addresses.get(device).into_iter().flatten();
            let is_elsewhere = known.any(|known| *known != address.address);
            let is_met = self.met.contains(device) || is_elsewhere;
            device.transport == Transport::Unix && !is_met
        }))
    }

    fn devices(&self) -> impl Iterator<Item = &Device> {
        self.configured.iter().map(|known| &known.device)
    }

    /// A goroutine in the code of this device waits for a socket that leads to this address.
    pub(crate) fn waited_for(&mut self, address: &Device, device: &Device) -> Option<Learnt> {
        let remote: SocketAddr = address.address.parse().ok()?;
        let place = Place::of(device).filter(|_| self.is_configured(device))?;
        if !place.may_be(address, remote.port()) {
            return None;
        }
        let owner = self.owner_of(address);
        if owner == address && !self.is_configured(address) {
            return self.learn(address.clone(), device.clone());
        }
        if owner == device {
            self.inferred.remove(address);
        } else {
            let sharers = self.sharers.entry(owner.clone()).or_default();
            if !sharers.contains(device) {
                sharers.push(device.clone());
            }
        }
        None
    }

    /// A goroutine is in the code of this HTTP device, whose URL says where its sockets lead.
    pub(crate) fn has_url(&mut self, device: &Device) -> Option<Learnt> {
        let is_new = device.transport == Transport::Http && !self.is_configured(device);
        let place = Place::of(device).filter(|_| is_new)?;
        if let Some(address) = place.address() {
            let is_free = !self.owners.contains_key(&address) && !self.is_configured(&address);
            return is_free.then(|| self.learn(address, device.clone()))?;
        }
        if !self.named.contains(device) && self.named.len() < MAX_LEARNT {
            self.named.push(device.clone());
        }
        // Entries may have shown before that there is an HTTP server.
        let may_be = |(address, owner): &(&Device, &Device)| {
            let port = address
                .address
                .parse()
                .map(|remote: SocketAddr| remote.port());
            **owner == http_server(address) && port.is_ok_and(|port| place.may_be(address, port))
        };
        let (address, known) = only(self.owners.iter().filter(may_be))?;
        let (address, known) = (address.clone(), known.clone());
        self.addresses.remove(&known);
        self.add(address, device.clone());
        Some((known, device.clone()))
    }

    fn learn(&mut self, address: Device, owner: Device) -> Option<Learnt> {
        if self.owners.len() >= MAX_LEARNT {
            return None;
        }
        self.add(address.clone(), owner.clone());
        Some((address, owner))
    }

    fn add(&mut self, address: Device, owner: Device) {
        let known = self.addresses.entry(owner.clone()).or_default();
        if known.len() < Device::MAX_ADDRESSES && !known.contains(&address.address) {
            known.push(address.address.clone());
        }
        self.inferred.remove(&address);
        self.owners.insert(address, owner);
    }

    /// Adds what its operator called it, and where its sockets led. Of several with one address nobody knows which it is.
    pub(crate) fn describe(&self, device: &mut Device) {
        let sharers = self.sharers.get(device).map_or(&[][..], Vec::as_slice);
        let is_meant = |known: &&ConfiguredDevice| {
            let is_syslog =
                known.device.transport == Transport::Syslog && device.is_syslog_socket();
            known.device == *device || is_syslog || sharers.contains(&known.device)
        };
        let paths = self.configured.iter().filter(is_meant);
        let paths: Vec<_> = paths.map(|known| known.path.as_str()).collect();
        let path = (!paths.is_empty()).then(|| paths.join(" or "));
        let addresses = self.addresses.get(device).cloned();
        device.path = path;
        device.addresses = addresses.unwrap_or_default();
    }
}

/// Each other path of a Unix socket, with its device. The first path of a syslog device is the one that the server finds.
fn other_paths(known: &ConfiguredDevice) -> Vec<(String, Device)> {
    let paths = known.device.addresses.iter().cloned();
    let (owner, skipped) = match (known.device.transport, known.device.addresses.first()) {
        (Transport::Unix, _) => (known.device.clone(), 0),
        (Transport::Syslog, Some(found)) => (Device::new(Transport::Unix, found.clone()), 1),
        _ => return Vec::new(),
    };
    let others = paths.skip(skipped);
    others.map(|path| (path, owner.clone())).collect()
}

/// The device where no more is known of it than that a server without TLS answers at this address.
fn http_server(address: &Device) -> Device {
    Device::configured(Transport::Http, &format!("http://{}", address.address))
}

fn only<T>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let one = all.next()?;
    all.next().is_none().then_some(one)
}

impl<'a> Place<'a> {
    /// `None` of what is not on the network.
    fn of(device: &'a Device) -> Option<Self> {
        let (transport, address, default) = match (device.transport, device.address.as_str()) {
            (Transport::Http, url) => match url.split_once("://")? {
                ("https", authority) => (Transport::Tcp, authority, Some(443)),
                (_, authority) => (Transport::Tcp, authority, Some(80)),
            },
            (transport, address) => {
                let is_on_network = transport.address_kind() == AddressKind::HostPort;
                (is_on_network.then_some(transport)?, address, None)
            }
        };
        let port = address.rsplit_once(':').and_then(|(host, port)| {
            let port = port.parse().ok()?;
            Some((host, port))
        });
        let (host, port) = port.or_else(|| Some((address, default?)))?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        Some(Self {
            transport,
            host,
            port,
        })
    }

    /// Where that is if it is no name.
    fn address(&self) -> Option<Device> {
        let ip: IpAddr = self.host.parse().ok()?;
        let address = SocketAddr::new(ip.to_canonical(), self.port);
        Some(Device::new(self.transport, address.to_string()))
    }

    /// Whether a look-up of its name may lead to this address.
    fn may_be(&self, address: &Device, port: u16) -> bool {
        let is_name = self.host.parse::<IpAddr>().is_err();
        is_name && self.port == port && self.transport == address.transport
    }
}

#[cfg(test)]
mod tests;
