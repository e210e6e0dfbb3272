"""Asks for the lag of a group without a pause, until it is ended; prints a line for each change between answer and failure.

A program of its own: some calls of the client end the process when a broker comes and goes.
"""

import sys

from function.kafka.client import client_config
from function.kafka.lag import KafkaGroup
from function.outcomes import TryAgain
from function.settings import CommonSettings

if __name__ == "__main__":
    brokers, name, topic = sys.argv[1:]
    settings = CommonSettings.model_construct(kafka_brokers=brokers, kafka_client_config="")
    group, said = KafkaGroup(client_config(settings), name, [topic], 1.0), ""
    while True:
        try:
            group.lag()
            group.members()
            now = "told"
        except TryAgain:
            now = "failed"
        if now != said:
            print(now, flush=True)
            said = now
