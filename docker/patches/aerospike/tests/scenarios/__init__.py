"""Scenarios that break the official client without its patches. Each runs in a fresh process; see run.py.

A scenario returns if all is well. It fails by an exception, by a signal, or by not ending in time.
"""

from scenarios import calls, client, objects

# By patch, in its order.
SCENARIOS = {
    "0001": [client.import_half_done, client.first_batch_read],
    "0002": [calls.error_kept, calls.error_mix_up],
    "0003": [calls.log_handler_taken_away, calls.log_handler_exchange],
    "0004": [calls.serializer_of_configuration, calls.serializer_exchange],
    "0005": [client.connect_twice, client.shared_connections],
    "0006": [client.destructor_and_listener],
    "0007": [client.closed_client, client.close_against_use, client.close_in_two_threads],
    "0008": [calls.list_shrinks, calls.shared_arguments],
    "0009": [
        objects.geojson_without_data,
        objects.geojson,
        objects.transaction,
        objects.query_predicates,
        objects.query_executed_twice,
        objects.batch_records_shared,
    ],
    "0010": [calls.bytearray_changes],
    "0011": [client.version],
    "0012": [client.declared],
    "0013": [client.clients_connect],
    "0014": [calls.logging_off_and_on],
    "0015": [client.connected_or_not],
    "0016": [objects.transaction_attributes],
    "0017": [objects.wrong_arguments, objects.executions_overlap],
    "0018": [objects.status_of_partitions, objects.status_in_callback],
    "0019": [client.initialized_twice, client.initialized_in_callback, client.initialize_against_use],
    "0020": [objects.transaction_state],
    "0021": [objects.query_not_initialized],
    "0022": [calls.first_errors],
    "0023": [objects.geojson_attribute],
}
