package client

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// ForeignClusterError says that an endpoint is of another cluster than the client's, which
// is Options.ClusterID, or else that of the first answer. The client goes on at other endpoints,
// and asks this one now and then whether it has changed; if all endpoints come to be of one other
// cluster, that is the client's from then on, unless Options.ClusterID names another.
//
// A client that knows its cluster says so with each call, so that members of another one refuse
// it; those of older versions do not, and carry it out.
type ForeignClusterError struct {
	Endpoint     string // HOST:PORT
	Cluster, Own string // ids: the endpoint's and the client's
	Written      bool   // the call was a write, which took effect there
}

// Error names both clusters.
func (e *ForeignClusterError) Error() string {
	text := fmt.Sprintf("client: %s is of cluster %s, this client's cluster is %s: name endpoints of one cluster only", e.Endpoint, e.Cluster, e.Own)
	if e.Written {
		text += "; the write took effect in the other cluster"
	}
	return text
}

// admit notes of which cluster an endpoint is, if that is known, and returns a
// [*ForeignClusterError] if it is not the client's.
func (c *Client) admit(e *endpoint, cluster string) error {
	if cluster == "" {
		return nil
	}
	own := c.cluster.Load()
	if own == nil && !c.cluster.CompareAndSwap(nil, &cluster) {
		own = c.cluster.Load()
	}
	if own == nil || *own == cluster {
		e.identified.Store(true)
		e.foreign.Store(nil)
		return nil
	}
	known := e.foreign.Swap(&cluster)
	if c.adopt(cluster) {
		c.log.Warn("all endpoints are of another cluster now; it is the client's from now on", "cluster", cluster, "before", *own)
		return nil
	}
	err := &ForeignClusterError{Endpoint: e.address, Cluster: cluster, Own: *own}
	if known == nil {
		c.log.Warn("an endpoint is left out", "error", err)
		c.inBackground(func() { c.recheck(e) })
	}
	return connect.NewError(connect.CodeUnavailable, err)
}

// meant returns the id of the cluster that the client's calls are for; "" while that is not known.
func (c *Client) meant() string {
	if id := c.cluster.Load(); id != nil {
		return *id
	}
	return ""
}

// refused returns the error of a call that a member has refused because it is of another cluster
// as a [*ForeignClusterError]; one that another attempt may change, if that cluster has become the
// client's.
func (c *Client) refused(e *endpoint, err error) error {
	if Reason(err) != metadatav1.ErrorReason_ERROR_REASON_FOREIGN_CLUSTER {
		return err
	}
	if foreign := c.admit(e, ErrorValues(err)["cluster_id"]); foreign != nil {
		return foreign
	}
	again := connect.NewError(connect.CodeUnavailable, err)
	if told, ok := errors.AsType[*connect.Error](err); ok {
		for _, d := range told.Details() {
			again.AddDetail(d)
		}
	}
	return again
}

// adopt makes a cluster the client's if all endpoints are known to be of it.
func (c *Client) adopt(cluster string) bool {
	if c.opts.ClusterID != "" {
		return false
	}
	for _, e := range c.endpoints {
		if foreign := e.foreign.Load(); foreign == nil || *foreign != cluster {
			return false
		}
	}
	c.cluster.Store(&cluster)
	c.seen.Forget()
	c.wrote.Forget()
	for _, e := range c.endpoints {
		e.identified.Store(true)
		e.foreign.Store(nil)
	}
	return true
}

// recheck asks a foreign endpoint now and then until it is not foreign any more.
func (c *Client) recheck(e *endpoint) {
	for e.foreign.Load() != nil && sleep(c.life, maxSilence) {
		if status, err := c.statusOf(c.life, e); err == nil {
			_ = c.admit(e, status.GetClusterId()) // it has said so already
		}
	}
}

// identify asks an endpoint of which cluster it is, after it has refused a position. It
// returns a [*ForeignClusterError], or nil if that is not the reason.
func (c *Client) identify(e *endpoint) error {
	status, err := c.statusOf(c.life, e)
	if err != nil {
		return nil //nolint:nilerr // whoever cannot say is not of another cluster
	}
	return c.admit(e, status.GetClusterId())
}

// doubt asks an endpoint that refuses a call for good, and has not said yet of which cluster it
// is: another cluster knows nothing of what the call is about. It returns a
// [*ForeignClusterError], or nil if the refusal stands.
func (c *Client) doubt(e *endpoint, refusal error) error {
	if len(c.endpoints) == 1 || e.identified.Load() || Reason(refusal) == metadatav1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		return nil
	}
	if _, again := retryable(refusal); again {
		return nil
	}
	return c.identify(e)
}

// isForeign returns the error of an endpoint of another cluster.
func isForeign(err error) (*ForeignClusterError, bool) {
	return errors.AsType[*ForeignClusterError](err)
}

// positionOf returns the position of an answer; nil if it has none.
func positionOf(answer any) *metadatav1.Position {
	switch a := answer.(type) {
	case interface {
		GetResult() *metadatav1.WriteResult
	}:
		return a.GetResult().GetPosition()
	case interface{ GetPosition() *metadatav1.Position }:
		return a.GetPosition()
	}
	return nil
}
