package commands

import (
	"fmt"

	metadatav1 "github.com/heliosdb/metadata/proto/heliosdb/metadata/v1"
)

func (d *schemaDraft) createNamespace(c *metadatav1.CreateNamespaceRequest) error {
	in := c.GetNamespace()
	if err := checkNamespace(in); err != nil {
		return within("namespace", err)
	}
	if _, ok := d.Namespace(in.Name); ok {
		return alreadyExists("namespace %q exists already", in.Name).With("namespace", in.Name)
	}
	if d.NamespaceCount() >= MaxNamespaces {
		return limit("MaxNamespaces", "there are %d namespaces, which is the limit", d.NamespaceCount())
	}
	d.emit(&metadatav1.Event{Kind: &metadatav1.Event_NamespaceCreated{NamespaceCreated: &metadatav1.NamespaceCreated{
		Namespace: &metadatav1.Namespace{
			NamespaceId:     d.FreeNamespaceID(),
			Name:            in.Name,
			Comment:         in.Comment,
			Properties:      orNil(in.Properties),
			Version:         1,
			CreatedRevision: d.revision,
			CreateTime:      d.stamp,
		},
	}}})
	return nil
}

func checkNamespace(n *metadatav1.Namespace) error {
	if err := checkName("name", n.GetName()); err != nil {
		return err
	}
	if err := checkText("comment", n.GetComment()); err != nil {
		return err
	}
	return checkProperties("properties", n.GetProperties())
}

func (d *schemaDraft) dropNamespace(c *metadatav1.DropNamespaceRequest) error {
	if c.GetName() == "" {
		return invalid("name", "the name is empty")
	}
	n, ok := d.Namespace(c.Name)
	if !ok {
		return notFound("there is no namespace %q", c.Name).With("namespace", c.Name)
	}
	if err := checkVersion(func() string { return fmt.Sprintf("namespace %q", c.Name) }, n.Version(), c.ExpectedVersion); err != nil {
		return err
	}
	if c.Name == publicNamespace {
		return reject(metadatav1.ErrorReason_ERROR_REASON_PROTECTED, "namespace %q always exists and cannot be dropped", c.Name).
			With("namespace", c.Name)
	}
	if tables := d.TablesIn(c.Name); tables > 0 {
		return reject(metadatav1.ErrorReason_ERROR_REASON_NAMESPACE_NOT_EMPTY,
			"namespace %q is not empty (tables in it: %d); drop or move them first", c.Name, tables).With("namespace", c.Name)
	}
	d.emit(&metadatav1.Event{Kind: &metadatav1.Event_NamespaceDropped{NamespaceDropped: &metadatav1.NamespaceDropped{Namespace: n.Message()}}})
	return nil
}
