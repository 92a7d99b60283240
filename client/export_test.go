package client

import (
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Leader returns the endpoint that the client takes for a stream's leader.
func Leader(c *Client, s metadatav1.Stream) (int, bool) {
	c.leaders.mu.Lock()
	defer c.leaders.mu.Unlock()
	i, ok := c.leaders.index[s]
	return i, ok
}
