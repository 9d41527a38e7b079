//! What the host of an attached execution waits for on its outlet's side.

use remex_supervisor::lifecycle::outlet::Outlet;

/// An outlet with a caller at its end.
pub trait AttachedOutlet: Outlet {
    /// Returns when the caller has gone; never once the outlet was told so.
    fn gone(&self) -> impl Future<Output = ()> + Send;

    /// Returns when there is room for what had none; never if nothing is held up.
    fn room(&self) -> impl Future<Output = ()> + Send;
}
