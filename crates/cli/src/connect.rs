//! From flags to a client.

use jeton_client::{Client, Config};

use crate::args::Connection;

/// Connects to any of the endpoints.
pub async fn client(connection: &Connection) -> anyhow::Result<Client> {
    let config = Config::new(connection.endpoints.clone()).connect_timeout(connection.timeout);
    Ok(Client::connect(config).await?)
}

/// Connects to the node that leads, as far as any of the endpoints knows: changes of members are
/// made there. If nobody knows, to any.
pub async fn leader(connection: &Connection) -> anyhow::Result<Client> {
    let any = client(connection).await?;
    let status = any.admin().status(connection.timeout).await?;
    let leads = |id: u64| Some(id) == status.leader_id && id != status.node_id;
    let leader = status.members.iter().find(|member| leads(member.node_id));
    match leader.map(|leader| leader.client_address.clone()) {
        Some(address) if !address.is_empty() => {
            client(&Connection { endpoints: vec![address], ..connection.clone() }).await
        }
        _ => Ok(any),
    }
}
