# SimSiam on Subset-A of ImageNet, mostly things that people made (section 3 of the paper). The list comes from
#     python -m projects.negative_transfer.lists data/imagenet
# As many epochs as on all of ImageNet (../simsiam.py), so fewer iterations. The command prints the --epochs that are as
# many images.
# The other split: --cfg-options train_dataloader.dataset.dataset.ann_file=meta/depth5_520_480_a.txt
# ImageNet elsewhere: --cfg-options train_dataloader.dataset.dataset.data_root=FOLDER; --data would take all its images.
_base_ = '../simsiam.py'

train_dataloader = dict(dataset=dict(dataset=dict(ann_file='meta/strict_522_478_a.txt', with_label=False)))
