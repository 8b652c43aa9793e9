//! The interfaces behind `get_interface`: those that the host offers a plugin, and those that a plugin offers the
//! host. Each is one table of functions, append-only within its major.

#[macro_use]
mod define;
mod cross;
mod host_side;
mod plugin_side;

use std::sync::atomic::{AtomicU32, Ordering};

pub use cross::Cross;
pub use host_side::{
    audit, console, database, events, http, identity, limits, log, services, sessions, settings, storage,
    timers,
};
pub use plugin_side::{commands, hooks, jobs, lifecycle, offered};

use crate::{
    bytes::{Bytes, Slice},
    request::CallerRef,
};

/// A function of an interface's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// The offset of the function's pointer in the table, in bytes.
    pub offset: usize,
    /// The function's name, arguments and return type, as written.
    pub signature: &'static str,
}

/// The caller of a request. New fields are added at the end.
#[repr(C)]
pub struct Caller {
    size: usize,
    user_id: Slice<'static>,
    email: Slice<'static>,
    is_admin: u8,
    role: Slice<'static>,
    scopes: Slice<'static>,
    token_id: Slice<'static>,
}

#[cfg(test)]
impl Caller {
    /// The fields and their offsets.
    pub(crate) const FIELDS: &[(&str, usize)] =
        crate::layout::fields!(Caller { size, user_id, email, is_admin, role, scopes, token_id });
}

impl Caller {
    /// Creates a caller that borrows its texts without a lifetime.
    ///
    /// # Safety
    /// Every text of `caller` must outlive every use of the result.
    pub unsafe fn new(caller: CallerRef<'_>) -> Caller {
        let lend = |text: &str| {
            // SAFETY: guaranteed by this function's contract.
            unsafe { Slice::from(text).unbound() }
        };
        Caller {
            size: size_of::<Caller>(),
            user_id: lend(caller.user_id),
            email: lend(caller.email),
            is_admin: caller.is_admin.into(),
            role: lend(caller.role),
            scopes: caller.scopes.map_or(Slice::absent(), lend),
            token_id: caller.token_id.map_or(Slice::absent(), lend),
        }
    }

    /// Returns the user's id.
    pub fn user_id(&self) -> &str {
        self.user_id.text().unwrap_or_default()
    }

    /// Returns the user's email, normalised.
    pub fn email(&self) -> &str {
        self.email.text().unwrap_or_default()
    }

    /// Returns whether the user is an admin.
    pub fn is_admin(&self) -> bool {
        self.is_admin != 0
    }

    /// Returns the user's role: `user`, `viewer`, `editor` or `admin`.
    pub fn role(&self) -> &str {
        // A host with ABI 1.0 passes a caller that ends before this field.
        if self.size > std::mem::offset_of!(Caller, role) {
            self.role.text().unwrap_or("user")
        } else if self.is_admin() {
            "admin"
        } else {
            "user"
        }
    }

    /// Returns the scopes of an application token, separated by spaces; `None` for a signed-in user.
    pub fn scopes(&self) -> Option<&str> {
        (self.size > std::mem::offset_of!(Caller, scopes)).then(|| self.scopes.text()).flatten()
    }

    /// Returns the application token's id; `None` for a signed-in user.
    pub fn token_id(&self) -> Option<&str> {
        (self.size > std::mem::offset_of!(Caller, token_id)).then(|| self.token_id.text()).flatten()
    }

    /// Returns whether the caller may use `scope`: always for a signed-in user, only with that scope for an
    /// application token.
    pub fn allows(&self, scope: &str) -> bool {
        self.scopes().is_none_or(|granted| crate::scopes::covers(granted, scope))
    }
}

/// The listener counts of a topic, kept by the host as long as the process lives. Reading one costs one atomic
/// load.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Topic {
    before: AtomicU32,
    after: AtomicU32,
}

#[cfg(test)]
impl Topic {
    /// The fields and their offsets.
    pub(crate) const FIELDS: &[(&str, usize)] = crate::layout::fields!(Topic { before, after });
}

impl Topic {
    /// Returns whether hooks run before events of this topic.
    #[inline]
    pub fn has_before(&self) -> bool {
        self.before.load(Ordering::Relaxed) != 0
    }

    /// Returns whether there are listeners after events of this topic.
    #[inline]
    pub fn has_after(&self) -> bool {
        self.after.load(Ordering::Relaxed) != 0
    }

    /// Sets the listener counts. Called by the host when it installs a new generation.
    pub fn set(&self, before: u32, after: u32) {
        self.before.store(before, Ordering::Relaxed);
        self.after.store(after, Ordering::Relaxed);
    }
}

/// A topic as passed across the ABI: a reference that is never freed.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct TopicRef(pub &'static Topic);

/// The outcome of the hooks before an event.
#[repr(C)]
#[derive(Debug)]
pub struct Outcome {
    /// The event's payload as JSON, as changed by the hooks; empty if none changed it.
    pub payload: Bytes,
    /// A packed batch of statements that must commit with the change; empty if there are none.
    pub statements: Bytes,
}

impl Outcome {
    /// Returns an outcome without changes or added statements.
    pub const fn unchanged() -> Outcome {
        Outcome { payload: Bytes::empty(), statements: Bytes::empty() }
    }
}
