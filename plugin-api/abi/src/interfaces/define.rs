//! Generates an interface from its list of functions: the table that is passed across the ABI, the trait that one
//! side implements in safe Rust, and the client that the other side calls.

macro_rules! interface {
    (
        $(#[$meta:meta])*
        mod $module:ident = $id:literal @ $major:literal {
            $(
                $(#[$function_meta:meta])*
                fn $function:ident($($argument:ident: $kind:ty),* $(,)?) $(-> $answer:ty)?;
            )*
        }
    ) => {
        $(#[$meta])*
        pub mod $module {
            #[allow(unused_imports)]
            use super::*;

            /// The interface's id.
            pub const ID: &str = $id;
            /// The interface's major.
            pub const MAJOR: u16 = $major;

            /// The table that is passed across the ABI.
            #[repr(C)]
            pub struct Table {
                /// The table's size in bytes, set by the side that created it.
                pub size: usize,
                $(
                    $(#[$function_meta])*
                    pub $function: unsafe extern "C" fn(
                        state: *const std::ffi::c_void
                        $(, $argument: <$kind as $crate::interfaces::Cross>::Raw)*
                    ) $(-> <$answer as $crate::interfaces::Cross>::Raw)?,
                )*
            }

            /// The table's functions in order, for the snapshot that detects changes.
            pub const FUNCTIONS: &[$crate::interfaces::Function] = &[
                $($crate::interfaces::Function {
                    offset: std::mem::offset_of!(Table, $function),
                    signature: concat!(
                        stringify!($function), "(", stringify!($($argument: $kind),*), ")" $(, " -> ", stringify!($answer))?
                    ),
                },)*
            ];

            /// The trait that the offering side implements.
            pub trait Server: Send + Sync + 'static {
                $(
                    $(#[$function_meta])*
                    fn $function(&self $(, $argument: $kind)*) $(-> $answer)?;
                )*
            }

            /// The functions of a table over the state `S`.
            #[allow(non_camel_case_types)]
            struct Shims<S>(std::marker::PhantomData<S>);

            impl<S: Server> Shims<S> {
                const TABLE: Table = Table { size: size_of::<Table>(), $($function: Self::$function,)* };

                $(
                    unsafe extern "C" fn $function(
                        state: *const std::ffi::c_void
                        $(, $argument: <$kind as $crate::interfaces::Cross>::Raw)*
                    ) $(-> <$answer as $crate::interfaces::Cross>::Raw)? {
                        // SAFETY: the caller passes the state that came with this table, a live `S`.
                        let server = unsafe { &*state.cast::<S>() };
                        $(
                            // SAFETY: the other side made it with `into_raw`; it lives for the call.
                            let $argument = unsafe { <$kind as $crate::interfaces::Cross>::from_raw($argument) };
                        )*
                        let call = std::panic::AssertUnwindSafe(|| server.$function($($argument),*));
                        let answer = std::panic::catch_unwind(call).unwrap_or_else(|payload| {
                            std::mem::forget(payload);
                            interface!(@panicked $function $(, $answer)?)
                        });
                        $crate::interfaces::Cross::into_raw(answer)
                    }
                )*
            }

            /// Returns the table for a state `S`, as returned by `get_interface`.
            pub fn table<S: Server>() -> *const std::ffi::c_void {
                std::ptr::from_ref::<Table>(const { &Shims::<S>::TABLE }).cast()
            }

            /// The calling side.
            #[derive(Clone, Copy)]
            pub struct Client {
                state: *const std::ffi::c_void,
                table: &'static Table,
            }

            // SAFETY: a `Server` is `Send` and `Sync`, and the table is constant.
            unsafe impl Send for Client {}
            // SAFETY: as above.
            unsafe impl Sync for Client {}

            impl Client {
                /// Creates a client of `table` with `state`; `None` if the table is null.
                ///
                /// # Safety
                /// `table` must be null or what [`table`] returned on the other side, `state` the value it was made
                /// for, and both must outlive every call.
                pub unsafe fn new(state: *const std::ffi::c_void, table: *const std::ffi::c_void) -> Option<Client> {
                    // SAFETY: guaranteed by this function's contract. A shorter table is never read past its
                    // `size`.
                    let table = unsafe { table.cast::<Table>().as_ref() }?;
                    Some(Client { state, table })
                }

                $(
                    $(#[$function_meta])*
                    pub fn $function(&self $(, $argument: $kind)*) $(-> $answer)? {
                        let end = std::mem::offset_of!(Table, $function) + size_of::<usize>();
                        if self.table.size < end {
                            return interface!(@missing $function $(, $answer)?);
                        }
                        let function = self.table.$function;
                        // SAFETY: the state belongs to the table; the arguments live for the call.
                        let answer = unsafe {
                            function(self.state $(, $crate::interfaces::Cross::into_raw($argument))*)
                        };
                        interface!(@from answer $(, $answer)?)
                    }
                )*
            }
        }
    };
    (@missing $function:ident) => { () };
    (@missing $function:ident, $answer:ty) => {
        <$answer as $crate::interfaces::Cross>::missing(stringify!($function))
    };
    (@panicked $function:ident) => { () };
    (@panicked $function:ident, $answer:ty) => {
        <$answer as $crate::interfaces::Cross>::panicked(stringify!($function))
    };
    (@from $value:ident) => { $value };
    (@from $value:ident, $answer:ty) => {
        // SAFETY: the other side made it with `into_raw`.
        unsafe { <$answer as $crate::interfaces::Cross>::from_raw($value) }
    };
}
