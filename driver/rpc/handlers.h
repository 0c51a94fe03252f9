/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The handlers that procedures.c names: each fills call->ret from call->args. */
#pragma once

#include "rpc/client.h"
#include "rpc/params.h"

/* The packet of an event for one callback; NULL with no error when it has no shape on the wire. */
RpcPacket *rpc_event_encode(const DomainEvent *event, int callback_id, GError **err);

/* auth */
gboolean rpc_auth_list(RpcCall *call, GError **err);
gboolean rpc_auth_polkit(RpcCall *call, GError **err);

/* event */
gboolean rpc_event_deregister(RpcCall *call, GError **err);
gboolean rpc_event_deregister_any_legacy(RpcCall *call, GError **err);
gboolean rpc_event_deregister_legacy(RpcCall *call, GError **err);
gboolean rpc_event_register(RpcCall *call, GError **err);
gboolean rpc_event_register_any_legacy(RpcCall *call, GError **err);
gboolean rpc_event_register_legacy(RpcCall *call, GError **err);

/* connect */
gboolean rpc_connect_close(RpcCall *call, GError **err);
gboolean rpc_connect_close_callback(RpcCall *call, GError **err);
gboolean rpc_connect_get_all_domain_stats(RpcCall *call, GError **err);
gboolean rpc_connect_get_capabilities(RpcCall *call, GError **err);
gboolean rpc_connect_get_domain_capabilities(RpcCall *call, GError **err);
gboolean rpc_connect_get_hostname(RpcCall *call, GError **err);
gboolean rpc_connect_get_lib_version(RpcCall *call, GError **err);
gboolean rpc_connect_get_max_vcpus(RpcCall *call, GError **err);
gboolean rpc_connect_get_type(RpcCall *call, GError **err);
gboolean rpc_connect_get_uri(RpcCall *call, GError **err);
gboolean rpc_connect_get_version(RpcCall *call, GError **err);
gboolean rpc_connect_is_secure(RpcCall *call, GError **err);
gboolean rpc_connect_list_all_domains(RpcCall *call, GError **err);
gboolean rpc_connect_list_defined_domains(RpcCall *call, GError **err);
gboolean rpc_connect_list_domains(RpcCall *call, GError **err);
gboolean rpc_connect_num_of_defined_domains(RpcCall *call, GError **err);
gboolean rpc_connect_num_of_domains(RpcCall *call, GError **err);
gboolean rpc_connect_open(RpcCall *call, GError **err);
gboolean rpc_connect_set_identity(RpcCall *call, GError **err);
gboolean rpc_connect_supports_feature(RpcCall *call, GError **err);

/* node */
gboolean rpc_node_get_cells_free_memory(RpcCall *call, GError **err);
gboolean rpc_node_get_cpu_map(RpcCall *call, GError **err);
gboolean rpc_node_get_cpu_stats(RpcCall *call, GError **err);
gboolean rpc_node_get_free_memory(RpcCall *call, GError **err);
gboolean rpc_node_get_free_pages(RpcCall *call, GError **err);
gboolean rpc_node_get_info(RpcCall *call, GError **err);
gboolean rpc_node_get_memory_stats(RpcCall *call, GError **err);

/* domain */
gboolean rpc_domain_attach_device(RpcCall *call, GError **err);
gboolean rpc_domain_attach_device_flags(RpcCall *call, GError **err);
gboolean rpc_domain_block_stats(RpcCall *call, GError **err);
gboolean rpc_domain_block_stats_flags(RpcCall *call, GError **err);
gboolean rpc_domain_create(RpcCall *call, GError **err);
gboolean rpc_domain_create_with_flags(RpcCall *call, GError **err);
gboolean rpc_domain_create_xml(RpcCall *call, GError **err);
gboolean rpc_domain_define_xml(RpcCall *call, GError **err);
gboolean rpc_domain_define_xml_flags(RpcCall *call, GError **err);
gboolean rpc_domain_destroy(RpcCall *call, GError **err);
gboolean rpc_domain_destroy_flags(RpcCall *call, GError **err);
gboolean rpc_domain_detach_device(RpcCall *call, GError **err);
gboolean rpc_domain_detach_device_alias(RpcCall *call, GError **err);
gboolean rpc_domain_detach_device_flags(RpcCall *call, GError **err);
gboolean rpc_domain_get_autostart(RpcCall *call, GError **err);
gboolean rpc_domain_get_blkio_params(RpcCall *call, GError **err);
gboolean rpc_domain_get_block_info(RpcCall *call, GError **err);
gboolean rpc_domain_get_control_info(RpcCall *call, GError **err);
gboolean rpc_domain_get_cpu_stats(RpcCall *call, GError **err);
gboolean rpc_domain_get_disk_errors(RpcCall *call, GError **err);
gboolean rpc_domain_get_emulator_pin(RpcCall *call, GError **err);
gboolean rpc_domain_get_info(RpcCall *call, GError **err);
gboolean rpc_domain_get_job_info(RpcCall *call, GError **err);
gboolean rpc_domain_get_job_stats(RpcCall *call, GError **err);
gboolean rpc_domain_get_max_memory(RpcCall *call, GError **err);
gboolean rpc_domain_get_max_vcpus(RpcCall *call, GError **err);
gboolean rpc_domain_get_memory_params(RpcCall *call, GError **err);
gboolean rpc_domain_get_messages(RpcCall *call, GError **err);
gboolean rpc_domain_get_metadata(RpcCall *call, GError **err);
gboolean rpc_domain_get_nic(RpcCall *call, GError **err);
gboolean rpc_domain_get_numa_params(RpcCall *call, GError **err);
gboolean rpc_domain_get_os_type(RpcCall *call, GError **err);
gboolean rpc_domain_get_sched(RpcCall *call, GError **err);
gboolean rpc_domain_get_sched_flags(RpcCall *call, GError **err);
gboolean rpc_domain_get_sched_type(RpcCall *call, GError **err);
gboolean rpc_domain_get_state(RpcCall *call, GError **err);
gboolean rpc_domain_get_vcpu_pin(RpcCall *call, GError **err);
gboolean rpc_domain_get_vcpus(RpcCall *call, GError **err);
gboolean rpc_domain_get_vcpus_flags(RpcCall *call, GError **err);
gboolean rpc_domain_get_xml_desc(RpcCall *call, GError **err);
gboolean rpc_domain_has_current_snapshot(RpcCall *call, GError **err);
gboolean rpc_domain_has_managed_save_image(RpcCall *call, GError **err);
gboolean rpc_domain_inject_nmi(RpcCall *call, GError **err);
gboolean rpc_domain_interface_addresses(RpcCall *call, GError **err);
gboolean rpc_domain_is_active(RpcCall *call, GError **err);
gboolean rpc_domain_is_persistent(RpcCall *call, GError **err);
gboolean rpc_domain_is_updated(RpcCall *call, GError **err);
gboolean rpc_domain_list_all_checkpoints(RpcCall *call, GError **err);
gboolean rpc_domain_list_all_snapshots(RpcCall *call, GError **err);
gboolean rpc_domain_lookup_by_id(RpcCall *call, GError **err);
gboolean rpc_domain_lookup_by_name(RpcCall *call, GError **err);
gboolean rpc_domain_lookup_by_uuid(RpcCall *call, GError **err);
gboolean rpc_domain_memory_stats(RpcCall *call, GError **err);
gboolean rpc_domain_nic_stats(RpcCall *call, GError **err);
gboolean rpc_domain_open_channel(RpcCall *call, GError **err);
gboolean rpc_domain_open_console(RpcCall *call, GError **err);
gboolean rpc_domain_pin_emulator(RpcCall *call, GError **err);
gboolean rpc_domain_pin_vcpu(RpcCall *call, GError **err);
gboolean rpc_domain_pin_vcpu_flags(RpcCall *call, GError **err);
gboolean rpc_domain_reboot(RpcCall *call, GError **err);
gboolean rpc_domain_rename(RpcCall *call, GError **err);
gboolean rpc_domain_reset(RpcCall *call, GError **err);
gboolean rpc_domain_resume(RpcCall *call, GError **err);
gboolean rpc_domain_set_autostart(RpcCall *call, GError **err);
gboolean rpc_domain_set_blkio_params(RpcCall *call, GError **err);
gboolean rpc_domain_set_max_memory(RpcCall *call, GError **err);
gboolean rpc_domain_set_memory(RpcCall *call, GError **err);
gboolean rpc_domain_set_memory_flags(RpcCall *call, GError **err);
gboolean rpc_domain_set_memory_params(RpcCall *call, GError **err);
gboolean rpc_domain_set_metadata(RpcCall *call, GError **err);
gboolean rpc_domain_set_nic(RpcCall *call, GError **err);
gboolean rpc_domain_set_sched(RpcCall *call, GError **err);
gboolean rpc_domain_set_sched_flags(RpcCall *call, GError **err);
gboolean rpc_domain_set_vcpus(RpcCall *call, GError **err);
gboolean rpc_domain_set_vcpus_flags(RpcCall *call, GError **err);
gboolean rpc_domain_shutdown(RpcCall *call, GError **err);
gboolean rpc_domain_shutdown_flags(RpcCall *call, GError **err);
gboolean rpc_domain_snapshot_list_names(RpcCall *call, GError **err);
gboolean rpc_domain_snapshot_lookup_by_name(RpcCall *call, GError **err);
gboolean rpc_domain_snapshot_num(RpcCall *call, GError **err);
gboolean rpc_domain_suspend(RpcCall *call, GError **err);
gboolean rpc_domain_undefine(RpcCall *call, GError **err);
gboolean rpc_domain_undefine_flags(RpcCall *call, GError **err);
gboolean rpc_domain_update_device_flags(RpcCall *call, GError **err);
