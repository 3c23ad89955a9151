from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("runs", "0002_robots"),
    ]

    operations = [
        migrations.AlterField(
            model_name="command",
            name="kind",
            field=models.CharField(
                choices=[
                    ("stop", "Stop"),
                    ("kill", "Kill"),
                    ("pause", "Pause"),
                    ("resume", "Resume"),
                    ("checkpoint", "Checkpoint"),
                    ("set", "Set"),
                    ("labels", "Labels"),
                ],
                max_length=20,
            ),
        ),
    ]
