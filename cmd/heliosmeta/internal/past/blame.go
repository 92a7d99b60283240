package past

import (
	"context"

	"github.com/heliosdb/metadata/history/objects"
	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

// Blame is a table as it was, with who last set each part of it.
type Blame struct {
	Table    *metadatav1.TableSchema
	Revision uint64 // of the stream, that was asked for
	Parts    []objects.Blame
}

// BlameTable says who last set each part of a table as it was at a point.
func BlameTable(ctx context.Context, p Past, ref *metadatav1.TableRef, at *metadatav1.HistoryPoint) (*Blame, error) {
	res, err := p.Table(ctx, ref, at)
	if err != nil {
		return nil, err
	}
	id := res.GetTable().GetTableId()
	byID := &metadatav1.ObjectRef{Object: &metadatav1.ObjectRef_Table{Table: &metadatav1.TableRef{TableId: id}}}
	object := objects.Object{Kind: metadatav1.ObjectKind_OBJECT_KIND_TABLE, ID: id}
	parts, err := objects.BlameFrom(res.GetTable(), object, p.ObjectLog(ctx, byID, 0, res.GetRevision()))
	if err != nil {
		return nil, err
	}
	return &Blame{Table: res.GetTable(), Revision: res.GetRevision(), Parts: parts}, nil
}
