//! A call that a client of the old protocol has made: the server is told whose it is.

use remex_daemon::net::Caller;
use tonic::Request;

/// Metadata that tells the server whose call it is: the client's IP address. Only a server that has the gateway configured as
/// a proxy believes it; in the same process the [`Caller`] itself goes along, as an extension.
pub const CLIENT_ADDRESS_METADATA: &str = "remex-client-address";

/// A request with `message`, by `caller`.
pub(crate) fn by<T>(caller: &Caller, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(address) = caller.address
        && let Ok(value) = address.ip().to_canonical().to_string().parse()
    {
        let metadata = request.metadata_mut();
        metadata.insert(CLIENT_ADDRESS_METADATA, value);
    }
    request.extensions_mut().insert(caller.clone());
    request
}
