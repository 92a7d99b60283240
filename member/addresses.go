package member

// Addresses returns where clients reach the members of the cluster: what this one advertises,
// and what the others said when they last connected with it, by member. One that has not
// connected since this member started is left out.
func (m *Member) Addresses() []string {
	var addresses []string
	for _, p := range sortedPeers(m.config.Peers) {
		address := m.config.Advertise
		if p.ID != m.identity.Member {
			hello, _, _, _ := m.transport.Peer(p.ID)
			address = hello.Advertise
		}
		if address != "" {
			addresses = append(addresses, address)
		}
	}
	return addresses
}
