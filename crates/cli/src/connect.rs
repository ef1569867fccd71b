//! From flags to a client.

use jeton_client::{Client, Config};

use crate::args::Connection;

/// Connects to any of the endpoints.
pub async fn client(connection: &Connection) -> anyhow::Result<Client> {
    let config = Config::new(connection.endpoints.clone()).connect_timeout(connection.timeout);
    Ok(Client::connect(config).await?)
}
