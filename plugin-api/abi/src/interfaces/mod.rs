//! The interfaces that hang off `get_interface`: what the host offers a plugin and what a plugin offers the host.
//! Each is one table of functions, append-only within its major.

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
    /// Where its pointer stands in the table, in bytes.
    pub offset: usize,
    /// Its name, arguments and answer, as written.
    pub signature: &'static str,
}

/// Who calls. Grows at its end.
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
    /// Its fields and where they stand.
    pub(crate) const FIELDS: &[(&str, usize)] =
        crate::layout::fields!(Caller { size, user_id, email, is_admin, role, scopes, token_id });
}

impl Caller {
    /// Describes a caller by text that lives as long as the result is used.
    ///
    /// # Safety
    /// Every text of `caller` must outlive every use of the result.
    pub unsafe fn new(caller: CallerRef<'_>) -> Caller {
        let lend = |text: &str| {
            // SAFETY: as this function demands.
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

    /// The user's id.
    pub fn user_id(&self) -> &str {
        self.user_id.text().unwrap_or_default()
    }

    /// The user's email, normalised.
    pub fn email(&self) -> &str {
        self.email.text().unwrap_or_default()
    }

    /// Whether the user is an admin.
    pub fn is_admin(&self) -> bool {
        self.is_admin != 0
    }

    /// The user's role: `user`, `viewer`, `editor` or `admin`.
    pub fn role(&self) -> &str {
        // A host of ABI 1.0 hands in a caller that ends before this field.
        if self.size > std::mem::offset_of!(Caller, role) {
            self.role.text().unwrap_or("user")
        } else if self.is_admin() {
            "admin"
        } else {
            "user"
        }
    }

    /// The scopes, separated by spaces, that an application token is limited to; `None` for a signed-in user.
    pub fn scopes(&self) -> Option<&str> {
        (self.size > std::mem::offset_of!(Caller, scopes)).then(|| self.scopes.text()).flatten()
    }

    /// The application token's id; `None` for a signed-in user.
    pub fn token_id(&self) -> Option<&str> {
        (self.size > std::mem::offset_of!(Caller, token_id)).then(|| self.token_id.text()).flatten()
    }

    /// Whether the caller may use `scope`: a signed-in user always, an application token where it has it.
    pub fn allows(&self, scope: &str) -> bool {
        self.scopes().is_none_or(|granted| crate::scopes::covers(granted, scope))
    }
}

/// Who listens to a topic, kept by the host for as long as the process lives. Asking costs one load.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Topic {
    before: AtomicU32,
    after: AtomicU32,
}

#[cfg(test)]
impl Topic {
    /// Its fields and where they stand.
    pub(crate) const FIELDS: &[(&str, usize)] = crate::layout::fields!(Topic { before, after });
}

impl Topic {
    /// Whether a hook runs before events of this topic.
    #[inline]
    pub fn has_before(&self) -> bool {
        self.before.load(Ordering::Relaxed) != 0
    }

    /// Whether somebody is told after events of this topic.
    #[inline]
    pub fn has_after(&self) -> bool {
        self.after.load(Ordering::Relaxed) != 0
    }

    /// Sets how many listen: the host's business when a generation is swapped in.
    pub fn set(&self, before: u32, after: u32) {
        self.before.store(before, Ordering::Relaxed);
        self.after.store(after, Ordering::Relaxed);
    }
}

/// A topic as it crosses: a reference that is never freed.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct TopicRef(pub &'static Topic);

/// What the hooks before an event made of it.
#[repr(C)]
#[derive(Debug)]
pub struct Outcome {
    /// The event's payload, as JSON, as the hooks left it; empty where none changed it.
    pub payload: Bytes,
    /// A packed batch of statements that must commit with the change; empty where there are none.
    pub statements: Bytes,
}

impl Outcome {
    /// Nothing changed and nothing is added.
    pub const fn unchanged() -> Outcome {
        Outcome { payload: Bytes::empty(), statements: Bytes::empty() }
    }
}
