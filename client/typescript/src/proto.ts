// The contract: messages, enums and services, as generated.
export * from "./gen/heliosdb/metadata/v1/cluster_service_pb.js";
export * from "./gen/heliosdb/metadata/v1/consumer_pb.js";
export * from "./gen/heliosdb/metadata/v1/consumer_service_pb.js";
export * from "./gen/heliosdb/metadata/v1/data_type_pb.js";
export * from "./gen/heliosdb/metadata/v1/error_pb.js";
export * from "./gen/heliosdb/metadata/v1/event_pb.js";
export * from "./gen/heliosdb/metadata/v1/filter_pb.js";
export * from "./gen/heliosdb/metadata/v1/history_pb.js";
export * from "./gen/heliosdb/metadata/v1/history_service_pb.js";
export * from "./gen/heliosdb/metadata/v1/liveness_pb.js";
export * from "./gen/heliosdb/metadata/v1/metadata_service_pb.js";
export * from "./gen/heliosdb/metadata/v1/pipeline_pb.js";
export * from "./gen/heliosdb/metadata/v1/position_pb.js";
export * from "./gen/heliosdb/metadata/v1/subscription_pb.js";
export * from "./gen/heliosdb/metadata/v1/table_pb.js";
export * from "./gen/heliosdb/metadata/v1/topology_pb.js";
export * from "./gen/heliosdb/metadata/v1/write_pb.js";
